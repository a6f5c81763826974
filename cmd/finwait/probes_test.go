// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// TestFeatureProbesAgree watches one workload with both probes at a time: every kind of
// close, and in the end the namespace's own, which takes what is left with it. They must
// come to the same verdicts.
func TestFeatureProbesAgree(t *testing.T) {
	if len(probes(t)) < 2 {
		t.Skip("kernel lacks: fentry, so there is one probe only")
	}
	lab, ctx := newLab(t, workload.Options{FinTimeout: 2 * time.Second})
	fentry := traceLab(t, ctx, lab, tracer.Options{Probe: tracer.ProbeFentry})
	timer := traceLab(t, ctx, lab, tracer.Options{Probe: tracer.ProbeTimer})
	for _, kind := range workload.Kinds() {
		if _, err := lab.Run(ctx, kind); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
	}
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
	var said [2][]string
	for i, r := range []*rig{fentry, timer} {
		r.settled(func() bool { return r.flow.Stats().TimeWaits == 0 })
		r.finish()
		r.nothingLost()
		said[i] = lives(r.rows)
	}
	if diff := cmp.Diff(said[0], said[1]); diff != "" {
		t.Errorf("the probes say different things (-fentry +timer):\n%.4000s", diff)
	}
	ends := map[event.EndReason]int{}
	for i := range timer.rows {
		if tw := timer.rows[i].TimeWait; tw != nil {
			ends[tw.End]++
		}
	}
	for _, end := range []event.EndReason{event.EndReusedByConnect, event.EndReusedBySyn, event.EndReset, event.EndNamespaceExit, event.EndOverflow} {
		if ends[end] == 0 {
			t.Errorf("no TIME_WAIT ended as %v; they ended as %v", end, ends)
		}
	}
	t.Logf("%d rows each; TIME_WAIT ended as %v", len(said[0]), ends)
}

// lives are rows without their times, and without the cookie, which tracers number for
// themselves where the kernel does not.
func lives(rows []event.Transition) []string {
	list := make([]string, len(rows))
	for i := range rows {
		t := &rows[i]
		list[i] = fmt.Sprintf("%v→%v %v %v→%v %s[%d] %v %v %v %d orphan=%v", t.Local, t.Peer, t.Role, t.Old, t.New, t.Process.Comm, t.Process.PID, t.Closer, t.Method, t.Call, t.Errno, t.Orphan)
		if tw := t.TimeWait; tw != nil {
			list[i] += fmt.Sprintf(" tw=%v restarts=%d successor=%d", tw.End, tw.Restarts, tw.Successor.PID)
		}
	}
	slices.Sort(list)
	return list
}
