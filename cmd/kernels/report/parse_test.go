// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const output = `=== RUN   TestPlain
    plain_test.go:10: said something
--- PASS: TestPlain (0.25s)
=== RUN   TestFeatureKinds
=== PAUSE TestFeatureKinds
=== RUN   TestOld
    old_test.go:7: tried
    old_test.go:8: kernel lacks: fprobe, which came with 5.18
--- SKIP: TestOld (0.00s)
=== CONT  TestFeatureKinds
=== RUN   TestFeatureKinds/fentry
=== RUN   TestFeatureKinds/timer
    kinds_test.go:5: no root
        and a second line: of the same
=== NAME  TestFeatureKinds/fentry
    kinds_test.go:9: wrong
--- FAIL: TestFeatureKinds (1.50s)
    --- FAIL: TestFeatureKinds/fentry (1.00s)
    --- SKIP: TestFeatureKinds/timer (0.50s)
=== RUN   TestHangs
unfinished line`

var tests = []Test{
	{Name: "TestPlain", Status: OK, Elapsed: 250 * time.Millisecond},
	{Name: "TestFeatureKinds", Status: Fail, Elapsed: 1500 * time.Millisecond},
	{Name: "TestOld", Status: Lacks, Reason: "fprobe, which came with 5.18"},
	{Name: "TestFeatureKinds/fentry", Status: Fail, Elapsed: time.Second},
	{Name: "TestFeatureKinds/timer", Status: Skip, Reason: "no root", Elapsed: 500 * time.Millisecond},
	{Name: "TestHangs", Status: Running},
}

func TestParse(t *testing.T) {
	if diff := cmp.Diff(tests, Parse(output)); diff != "" {
		t.Error(diff)
	}
}

// With markers, what a test prints can neither hide nor forge a line of the framework.
func TestParseMarked(t *testing.T) {
	marked := "noise of TestMain\n" + strings.NewReplacer("=== ", "\x16=== ", "    --- ", "\x16    --- ", "\n--- ", "\n\x16--- ").Replace("\n"+output)
	marked = strings.Replace(marked, "said something\n", "said something\n--- FAIL: TestForged (0.00s)\nno end of line", 1)
	if diff := cmp.Diff(tests, Parse(marked)); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(Clean(marked), "\x16") {
		t.Error("a marker is left")
	}
}

func TestProblems(t *testing.T) {
	c := Column{Tests: tests, Troubles: []string{"exit status 2"}}
	want := []string{
		"exit status 2",
		"TestFeatureKinds/fentry failed",
		"TestFeatureKinds/timer was skipped, and not because the kernel lacks something: no root",
		"TestHangs did not end",
	}
	if diff := cmp.Diff(want, c.Problems()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"TestOld: fprobe, which came with 5.18"}, c.Lacking()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"no test was run"}, Column{}.Problems()); diff != "" {
		t.Error(diff)
	}
}
