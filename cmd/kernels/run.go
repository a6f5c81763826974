// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"finwait/cmd/kernels/guest"
	"finwait/cmd/kernels/vm"
)

// exitMachine is the status when the machine, and not the program, went wrong.
const exitMachine = 125

// repeated is a flag that may be given more than once.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, " ") }
func (r *repeated) Set(s string) error { *r = append(*r, s); return nil }

// run is the command of that name. Its status is the program's.
func run(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("kernels run", flag.ContinueOnError)
	var (
		kernel  = flags.String("kernel", newest, "a series such as 6.12, or newest; 6.12-arm64")
		icount  = flags.Bool("icount", true, "let guest time skip what is idle; -icount=false follows the host's clock, on all CPUs at once")
		console = flags.Bool("console", false, "print what the kernel wrote, at the end")
		timeout = flags.Duration("timeout", 5*time.Minute, "of the host's time")
		cpus    = flags.Int("cpus", 2, "of the guest")
		memory  = flags.String("memory", "1G", "of the guest")
		more    = flags.String("append", "", "more for the kernel's command line")
		modules = flags.String("modules", "all", "which of the fetched modules to load: all, none, or names with commas")
		dir     = flags.String("dir", "/work", "the working directory in the guest")

		copies, env, sysctls repeated
	)
	flags.Var(&copies, "copy", "`SOURCE:TARGET`, a file or directory for the guest; may be repeated")
	flags.Var(&env, "env", "`NAME=VALUE` for the program; may be repeated")
	flags.Var(&sysctls, "sysctl", "`net.ipv4.x=1` for the guest; may be repeated")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), `usage: kernels run [flags] BINARY [ARG...]

BINARY must be static (CGO_ENABLED=0) and of the kernel's architecture. Its output
comes as it is written, and its exit status is that of this command; %d is trouble
with the machine. The guest has lo up, cgroup2, bpf and trace file systems, and:
  %s

`, exitMachine, strings.Join(wantedModules, " "))
		flags.PrintDefaults()
	}
	if err := parse(flags, args); err != nil {
		return 2, err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 2, errUsage
	}
	targets, err := parseTargets(*kernel)
	if err != nil {
		return 2, err
	}
	if len(targets) != 1 {
		return 2, fmt.Errorf("parse -kernel %q: want one kernel", *kernel)
	}
	t := targets[0]
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	// The program's output is on standard output, alone.
	f := fetcher{cache: cache, quiet: true, log: os.Stderr}
	kernels, err := f.fetch(ctx, targets)
	if err != nil {
		return 1, err
	}
	r := kernels[t]
	built, err := os.MkdirTemp("", "finwait-init-")
	if err != nil {
		return 1, fmt.Errorf("make room for init: %w", err)
	}
	defer os.RemoveAll(built)
	init, err := initProgram(ctx, t.arch, built)
	if err != nil {
		return 1, err
	}
	m := cache.machine(t)
	m.VirtualTime, m.Timeout, m.CPUs, m.Memory, m.Append = *icount, *timeout, *cpus, *memory, *more
	m.Image.Init, m.Image.Program = init, flags.Arg(0)
	m.Image.Payload = guest.Payload{
		Args:    append([]string{path.Join("/bin", filepath.Base(flags.Arg(0)))}, flags.Args()[1:]...),
		Env:     env,
		Dir:     *dir,
		Modules: chooseModules(r.Modules, *modules),
		Sysctls: sysctls,
	}
	for _, c := range copies {
		source, target, ok := strings.Cut(c, ":")
		if !ok {
			return 2, fmt.Errorf("parse -copy %q: want SOURCE:TARGET", c)
		}
		m.Image.Copies = append(m.Image.Copies, vm.Copy{Source: source, Target: target})
	}
	result, err := boot(ctx, m, os.Stdout, func(warning string) { fmt.Fprint(os.Stderr, warning) })
	return conclude(t, r, result, err, *console)
}

// conclude prints how a run went and returns its status.
func conclude(t target, r record, result vm.Result, err error, console bool) (int, error) {
	bad := result.BadTaint()
	if console || result.Console != "" && (err != nil || bad != "") {
		fmt.Fprintf(os.Stderr, "--- console of %s ---\n%s---\n", t, result.Console)
	}
	for _, c := range result.Complaints() {
		fmt.Fprintf(os.Stderr, "kernels: %s\n", c)
	}
	switch {
	case err != nil:
		return exitMachine, fmt.Errorf("%s (%s): %w, after %.1fs", t, r.Release, err, result.Wall.Seconds())
	case bad != "":
		return exitMachine, fmt.Errorf("%s (%s): the kernel is tainted: %s", t, r.Release, bad)
	}
	fmt.Fprintf(os.Stderr, "kernels: %s (%s): exit %d, %.1fs of guest time, %.1fs in all\n",
		t, r.Release, result.Code, result.Ran.Seconds(), result.Wall.Seconds())
	return result.Code, nil
}

// machine is what a fetched kernel boots on.
func (c cache) machine(t target) vm.Machine {
	return vm.Machine{
		Emulator: c.emulatorDir(t.arch),
		Arch:     t.arch,
		Kernel:   filepath.Join(c.kernelDir(t), "vmlinuz"),
		Image:    vm.Image{Modules: filepath.Join(c.kernelDir(t), "modules")},
	}
}

// boot boots m, and again, loudly, if it does not get as far as the program.
func boot(ctx context.Context, m vm.Machine, out io.Writer, warn func(string)) (vm.Result, error) {
	const tries = 3
	for try := 1; ; try++ {
		r, err := vm.Boot(ctx, m, out)
		if !errors.Is(err, vm.ErrBoot) || try == tries {
			return r, err
		}
		warn(fmt.Sprintf("RETRY %d of %d: %v; its console:\n%s---\n", try, tries-1, err, r.Console))
	}
}

// chooseModules keeps the order of all. Which depends on which is lost here, so a
// choice must name what it needs.
func chooseModules(all []string, choice string) []string {
	names := strings.Split(choice, ",")
	var files []string
	for _, name := range all {
		if choice == "all" || slices.Contains(names, name) {
			files = append(files, name+".ko")
		}
	}
	return files
}
