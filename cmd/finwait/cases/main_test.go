// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"finwait/tracer/privilege"
	"finwait/tracer/workload"
)

var update = flag.Bool("update", false, "write docs/cases anew")

func TestMain(m *testing.M) {
	workload.Main() // the workers of a lab are this binary again,
	clientMain()    // and so are the clients
	os.Exit(run(m))
}

// binDir is where the program finwait is.
var binDir string

// run builds the program once, for every test.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "finwait-cases-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	sweep()
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "finwait"), "finwait/cmd/finwait")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build finwait: %v\n%s", err, out)
		return 1
	}
	binDir = dir
	return m.Run()
}

// needs skips a test without privilege or without these programs, and fails it where it must run.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	lacks := t.Skipf
	if os.Getenv("FINWAIT_REQUIRE_KERNEL") != "" {
		lacks = t.Fatalf
	}
	if err := privilege.Check(); err != nil {
		lacks("%v", err)
	}
	if os.Geteuid() != 0 {
		lacks("making network namespaces needs root")
	}
	for _, p := range append(programs, "ip", "nsenter", "jq") {
		if _, err := exec.LookPath(p); err != nil {
			lacks("%v; make cases installs it", err)
		}
	}
}

// patience bounds a wait for a condition; it is a safety net, not an expectation.
const patience = time.Minute

// await looks again and again until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	awaitFor(t, patience, what, holds)
}

// awaitFor is await for what takes longer by its nature.
func awaitFor(t *testing.T, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
	}
}
