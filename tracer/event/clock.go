// SPDX-License-Identifier: Apache-2.0

package event

import "time"

// Clock turns the kernel's CLOCK_MONOTONIC into wall-clock time with one offset, taken
// when the trace began: a clock that is set during a trace does not reorder it.
type Clock struct {
	Offset int64 // wall clock − CLOCK_MONOTONIC, nanoseconds
}

// Wall returns the wall-clock time, UTC, of a ktime.
func (c Clock) Wall(ktime int64) time.Time { return time.Unix(0, ktime+c.Offset).UTC() }
