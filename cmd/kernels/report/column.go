// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"time"
)

// Column is one run.
type Column struct {
	Name     string // of the kernel
	Tests    []Test
	Troubles []string // what went wrong beside the tests
	Wall     time.Duration
}

// Problems are the reasons why the run has failed; it has not if there are none.
func (c Column) Problems() []string {
	problems := append([]string(nil), c.Troubles...)
	if len(c.Tests) == 0 {
		problems = append(problems, "no test was run")
	}
	failed := map[string]bool{} // with a subtest that says more
	for i := len(c.Tests) - 1; i >= 0; i-- {
		if t := c.Tests[i]; t.Status.Bad() {
			for p := parent(t.Name); p != ""; p = parent(p) {
				failed[p] = true
			}
		}
	}
	for _, t := range c.Tests {
		if failed[t.Name] {
			continue
		}
		switch t.Status {
		case Fail:
			problems = append(problems, t.Name+" failed")
		case Running:
			problems = append(problems, t.Name+" did not end")
		case Skip:
			problems = append(problems, fmt.Sprintf("%s was skipped, and not because the kernel lacks something: %s", t.Name, t.Reason))
		}
	}
	return problems
}

// Lacking are the tests that the kernel cannot run, with what it lacks.
func (c Column) Lacking() []string {
	var all []string
	for _, t := range c.Tests {
		if t.Status == Lacks {
			all = append(all, t.Name+": "+t.Reason)
		}
	}
	return all
}
