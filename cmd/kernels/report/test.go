// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"time"
)

// Status is how a test ended. Their order is that of Worst.
type Status int

const (
	None    Status = iota // not run
	OK                    // passed
	Lacks                 // skipped, because the kernel lacks something
	Skip                  // skipped for any other reason, which is a failure
	Running               // never ended, which is a failure
	Fail
)

func (s Status) String() string {
	return [...]string{"–", "ok", "lacks", "skip", "FAIL", "FAIL"}[s]
}

// Bad tells whether a run with such a test has failed.
func (s Status) Bad() bool { return s >= Skip }

// Worst is the one that a row with both shows.
func Worst(a, b Status) Status { return max(a, b) }

// Test is one test, or subtest, of one run.
type Test struct {
	Name    string
	Status  Status
	Reason  string // of Lacks and Skip, what the test said
	Elapsed time.Duration
}

// depth is 0 for a top-level test.
func depth(name string) int { return strings.Count(name, "/") }

func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}
