// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"finwait/cmd/kernels/report"
)

// test is the command of that name.
func test(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("kernels test", flag.ContinueOnError)
	var (
		list    = flags.String("kernels", "", "names with commas, all of them required; a series, or newest, and -arm64 after it for that (default: "+names(matrix)+")")
		clock   = flags.String("real", "6.12", "a kernel to run once more by the host's clock, on all CPUs at once; or none")
		pkg     = flags.String("package", "finwait/cmd/finwait", "whose tests to run")
		only    = flags.String("run", "", "the tests to run, as go test has it")
		races   = flags.String("real-run", "", "those to run by the host's clock (default: as -run)")
		jobs    = flags.Int("jobs", runtime.NumCPU(), "how many machines at a time")
		timeout = flags.Duration("timeout", 5*time.Minute, "for a machine, of the host's time")
		all     = flags.Bool("all", false, "show every subtest in the table")
		verbose = flags.Bool("v", false, "show the output of kernels that pass, too")

		env repeated
	)
	flags.Var(&env, "env", "`NAME=VALUE` for the tests; may be repeated")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `usage: kernels test [flags] [-- -test.FLAG...]

It exits with 1 on a failed test, a test skipped for anything but "kernel lacks: ...",
and trouble in a kernel's log. Tests find in their environment FINWAIT_REQUIRE_KERNEL=1,
FINWAIT_EMULATOR=1 and, unless the machine follows the host's clock, FINWAIT_VIRTUAL_TIME=1.

`)
		flags.PrintDefaults()
	}
	if err := parse(flags, args); err != nil {
		return 2, err
	}
	targets, again, err := chooseTargets(*list, *clock)
	if err != nil {
		return 2, err
	}
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	f := fetcher{cache: cache, log: os.Stdout}
	both := slices.Concat(targets, again)
	kernels, err := f.fetch(ctx, both)
	if err != nil {
		return 1, err
	}
	s := suite{
		cache: cache, jobs: *jobs, timeout: *timeout, verbose: *verbose, out: os.Stdout,
		env: env, args: flags.Args(), only: *only, onlyReal: cmp.Or(*races, *only),
	}
	cleanup, err := s.build(ctx, *pkg, both)
	if err != nil {
		return 1, err
	}
	defer cleanup()
	columns, err := s.run(ctx, trials(kernels, targets, again))
	if err != nil {
		return 1, err
	}
	fmt.Println()
	if err := report.Write(os.Stdout, columns, *all); err != nil {
		return 1, fmt.Errorf("write table: %w", err)
	}
	for _, c := range columns {
		if len(c.Problems()) > 0 {
			return 1, nil
		}
	}
	return 0, nil
}

// chooseTargets reads the flags: what to test, and what of it by the host's clock.
func chooseTargets(list, clock string) (targets, again []target, err error) {
	targets = matrix
	if list != "" {
		if targets, err = parseTargets(list); err != nil {
			return nil, nil, err
		}
	}
	if clock != "none" {
		again, err = parseTargets(clock)
	}
	return targets, again, err
}

func names(targets []target) string {
	var all []string
	for _, t := range targets {
		all = append(all, t.String())
	}
	return strings.Join(all, ",")
}
