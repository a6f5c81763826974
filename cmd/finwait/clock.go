// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"finwait/tracer/event"
)

// steadiness is how far the wall clock may go from where the trace puts it before that is
// worth a word: adjustments by fractions of a second are everyday.
const steadiness = time.Second

// clockNote says that the wall clock went its own way during a trace: it was set, or the
// host slept. Timestamps are CLOCK_MONOTONIC and one offset, taken at the start, so that no
// record ever comes before an earlier one; CLOCK_MONOTONIC stands still in suspend, and so
// do the kernel's timers: a TIME_WAIT is as long as it was awake. Empty if there is nothing
// to say.
func clockNote(c event.Clock, ktime int64, wall time.Time) string {
	off := wall.Sub(c.Wall(ktime)).Round(time.Millisecond)
	if off.Abs() < steadiness {
		return ""
	}
	return fmt.Sprintf("the clock was set during the trace, or the host was suspended: now it shows %v more than at the start; "+
		"timestamps go on by the clock of the start, and durations leave suspension out", off)
}
