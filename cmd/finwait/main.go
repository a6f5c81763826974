// SPDX-License-Identifier: Apache-2.0

// Command finwait tells who closed a TCP connection first, how long its TIME_WAIT
// really lasted, and why it ended.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"finwait/tracer"
	"finwait/tracer/workload"
)

// The exit statuses.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitPrivilege = 3
	exitKernel    = 4
	exitStrict    = 5
	exitFinding   = 10
)

// errUsage marks an error that the user can mend on the command line; errStrict, a
// trace that is not whole; errFinding, a report that says so.
var (
	errUsage   = errors.New("usage")
	errStrict  = errors.New("not complete")
	errFinding = errors.New("check")
)

func main() {
	workload.Main() // the demo's workers are this program again
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	// A reader that goes away is an ordinary end: writes then fail with EPIPE.
	// So is a limit on the size of files (ulimit -f): they fail with EFBIG.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The first signal asks for an orderly end. A second one does not have to: where nobody
	// reads the output, there may never be one.
	defer context.AfterFunc(ctx, stop)()
	cmd := newRoot()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(os.Stderr, "finwait: %s\n", printable(err.Error()))
	}
	return exitStatus(err)
}

func exitStatus(err error) int {
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return exitDone
	case errors.Is(err, errUsage), errors.Is(err, tracer.ErrTypes):
		return exitUsage
	case errors.Is(err, tracer.ErrPrivilege):
		return exitPrivilege
	case errors.Is(err, tracer.ErrKernel):
		return exitKernel
	case errors.Is(err, errStrict):
		return exitStrict
	case errors.Is(err, errFinding):
		return exitFinding
	}
	return exitFailed
}
