// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"finwait/tracer/privilege"
	"finwait/tracer/workload"
)

func TestMain(m *testing.M) {
	workload.Main() // the lab's workers are this binary again
	actorMain()     // and so are the processes of the ownership tests
	if os.Getenv(asProgram) != "" {
		if err := enterWorld(); err != nil {
			fmt.Fprintln(os.Stderr, "make a world for the test:", err)
			os.Exit(125)
		}
		os.Exit(run(os.Args[1:]))
	}
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(m.Run())
}

// asProgram makes this test binary behave as finwait itself.
const asProgram = "FINWAIT_TEST_AS_PROGRAM"

// needsKernel skips a test that cannot trace here, and fails it where it must.
func needsKernel(t *testing.T) {
	t.Helper()
	if err := privilege.Check(); err != nil {
		if os.Getenv("FINWAIT_REQUIRE_KERNEL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}
