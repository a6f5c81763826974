// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// TestFeatureFullMinute lets every TIME_WAIT run out, and holds its length against the
// timer's own expiry, to one jiffy. It takes as long as TIME_WAIT does, and runs beside
// the other tests. One of them is older than the trace: its start is known from the timer.
func TestFeatureFullMinute(t *testing.T) {
	t.Parallel()
	tick, err := tracer.Tick()
	if err != nil {
		t.Fatal(err)
	}
	for _, probe := range probes(t) {
		t.Run(probe.String(), func(t *testing.T) {
			t.Parallel()
			lab, ctx := newLab(t, workload.Options{})
			before := tracer.Now()
			if _, err := lab.Run(ctx, workload.ServerFirst); err != nil {
				t.Fatal(err)
			}
			after := tracer.Now()
			r := traceLab(t, ctx, lab, tracer.Options{Probe: probe})
			kinds := []workload.Kind{workload.ClientFirst, workload.ServerFirst, workload.HalfClose, workload.Simultaneous, workload.TWFinAgain, workload.IPv6, workload.V4Mapped}
			restarted := 0
			for _, k := range kinds {
				if k.Scripted() {
					if _, err := lab.Run(ctx, k); err != nil {
						t.Logf("%s cannot be made here: %v", k, err)
						continue
					}
					if k == workload.TWFinAgain {
						restarted++
					}
				} else if _, err := lab.Run(ctx, k); err != nil {
					t.Fatal(err)
				}
			}
			r.settled(func() bool { return r.flow.Stats().TimeWaits == 0 })
			r.finish()
			r.nothingLost()
			minisAsCounted(t, r)

			var ends, old int
			for i := range r.rows {
				row := &r.rows[i]
				if row.Old != event.TimeWait {
					continue
				}
				ends++
				info := row.TimeWait
				if row.Incomplete && hidesInit() {
					t.Logf("%v: its timer fell into a task that this host hides", row.Local)
					old, restarted = old+btoi(row.Existed), restarted-info.Restarts
					continue
				}
				if info.End != event.EndExpired || info.Late < 0 || info.Inferred && !(r.tracer.NamelessSegments() && info.Restarts > 0) {
					t.Errorf("%v: ended as %v, %v late, inferred %v; want it to expire", row.Local, info.End, info.Late, info.Inferred)
				}
				wheel := info.Duration - info.Late - time.Minute // what is left is restarts, and less than a jiffy
				switch {
				case row.Existed:
					old++
					if entered := row.KTime - int64(info.Duration); entered < before-int64(tick) || entered > after+int64(tick) {
						t.Errorf("%v: older than the trace, began at %d; want %d to %d", row.Local, entered, before, after)
					}
				case info.Restarts > 0:
					restarted -= info.Restarts
					if wheel < 500*time.Millisecond || wheel > time.Minute {
						t.Errorf("%v: restarted, the minute began anew after %v", row.Local, wheel)
					}
				case wheel < -tick || wheel > tick:
					t.Errorf("%v: lasted %v and was %v late: %v from the timer's minute, more than a jiffy (%v)", row.Local, info.Duration, info.Late, wheel, tick)
				}
				t.Logf("%v: %v, %v late, restarts %d, existed %v", row.Local, info.Duration, info.Late, info.Restarts, row.Existed)
			}
			if ends < 5 || old != 1 || restarted != 0 {
				t.Errorf("%d ends of TIME_WAIT (%d older than the trace, %d restarts unseen); want at least 5, 1, 0", ends, old, restarted)
			}
		})
	}
}

// minisAsCounted holds all mini-sockets of a trace that outlived them against the kernel's count.
func minisAsCounted(t *testing.T, r *rig) {
	t.Helper()
	begin, end := r.tracer.Seed().Readings, r.counted
	if len(begin) != 1 || len(end) != 1 {
		t.Fatalf("%d and %d readings of the kernel's counters, want one of each", len(begin), len(end))
	}
	var kernel int64
	for _, c := range []event.Counter{event.CounterTW, event.CounterTWKilled} {
		kernel += end[0].Counters[c] - begin[0].Counters[c]
	}
	stats := r.flow.Stats()
	ours, what := stats.Born, "born"
	if r.tracer.CountsAtExpiry() {
		ours, what = stats.Ended[event.EndExpired], "expired"
	}
	if int64(ours) != kernel && !(hidesInit() && int64(ours) < kernel) {
		t.Errorf("%d %s, the kernel counted %d", ours, what, kernel)
	} else {
		t.Logf("%d %s, the kernel counted %d", ours, what, kernel)
	}
}

// TestFeatureNamespaceExit: a namespace that goes away ends its TIME_WAITs.
func TestFeatureNamespaceExit(t *testing.T) {
	for _, probe := range probes(t) {
		t.Run(probe.String(), func(t *testing.T) {
			lab, ctx := newLab(t, workload.Options{})
			r := traceLab(t, ctx, lab, tracer.Options{Probe: probe})
			if _, err := lab.Run(ctx, workload.ClientFirst); err != nil {
				t.Fatal(err)
			}
			r.settled(nil)
			if err := lab.Close(); err != nil {
				t.Fatal(err)
			}
			r.settled(func() bool { return r.flow.Stats().TimeWaits == 0 })
			r.finish()
			last := r.rows[len(r.rows)-1]
			if last.TimeWait == nil || last.TimeWait.End != event.EndNamespaceExit {
				t.Errorf("TIME_WAIT ended as %+v, want namespace_exit", last.TimeWait)
			}
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
