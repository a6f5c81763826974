// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"finwait/cmd/kernels/guest"
)

const usage = `usage: kernels COMMAND [flags] ...

  kernels run [flags] BINARY [ARG...]   boot one kernel and run a static program in it as root
  kernels fetch [flags]                 get the kernels and the emulator
  kernels test [flags]                  run the project's tests in every kernel; print a table

kernels COMMAND -h lists a command's flags. What is fetched is kept in
$FINWAIT_VM_CACHE, or else in ${XDG_CACHE_HOME:-$HOME/.cache}/finwait/vm.
`

// errUsage is an error on the command line that has been reported.
var errUsage = errors.New("usage")

func main() {
	guest.Main() // the guest's init is this program again
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status := command(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

func command(ctx context.Context, args []string) int {
	commands := map[string]func(context.Context, []string) (int, error){
		"run":   run,
		"fetch": fetch,
		"test":  test,
	}
	if len(args) > 0 {
		if f, ok := commands[args[0]]; ok {
			status, err := f(ctx, args[1:])
			switch {
			case errors.Is(err, flag.ErrHelp):
				return 0
			case errors.Is(err, errUsage):
				return 2
			case err != nil:
				fmt.Fprintf(os.Stderr, "kernels: %v\n", err)
			}
			return status
		}
		if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			fmt.Print(usage)
			return 0
		}
	}
	fmt.Fprint(os.Stderr, usage)
	return 2
}

// parse parses a command's flags; the flag package reports what is wrong itself.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage
	}
	return err
}

func fetch(ctx context.Context, args []string) (int, error) {
	flags := flag.NewFlagSet("kernels fetch", flag.ContinueOnError)
	list := flags.String("kernels", "", "names with commas (default: those of test)")
	refresh := flags.Bool("refresh", false, "fetch again what is in the cache")
	if err := parse(flags, args); err != nil {
		return 1, err
	}
	targets := matrix
	if *list != "" {
		var err error
		if targets, err = parseTargets(*list); err != nil {
			return 2, err
		}
	}
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	f := fetcher{cache: cache, refresh: *refresh, log: os.Stdout}
	if _, err := f.fetch(ctx, targets); err != nil {
		return 1, err
	}
	return 0, nil
}
