// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
	"finwait/tracer/proc"
	"finwait/tracer/workload"
)

// rig is a lab, a trace of its namespace, and everything that the trace said.
type rig struct {
	t      *testing.T
	lab    *workload.Lab
	tracer *tracer.Tracer
	flow   *flow.Flow
	repair reconciler
	gate   atomic.Pointer[chan struct{}] // while there is one, the tracing goroutine waits for it
	ctx    context.Context
	stop   context.CancelFunc
	ended  chan struct{} // closed when Run has returned err
	err    error
	asked  chan question

	rows     []event.Transition
	failures []event.ConnectError
	releases []event.Release
	losses   []event.Loss
	counted  []tracer.Reading // the kernel's counters, when the trace ended
	pending  *question
	taken    struct {
		rows, failures int
		totals         seen
	}
}

// question is answered when everything before `after` has come out of the flow.
type question struct {
	after int64
	met   func() bool
	done  chan *seen
}

// seen is what came out between two questions.
type seen struct {
	rows                          []event.Transition
	failures                      []event.ConnectError
	born, reused, refused, strays uint64
	countsAtExpiry                bool // see tracer.Tracer.CountsAtExpiry
}

// labTime bounds a whole test in a lab; it is a safety net, not an expectation.
const labTime = 4 * time.Minute

func newLab(t *testing.T, opt workload.Options) (*workload.Lab, context.Context) {
	t.Helper()
	needsKernel(t)
	ctx, cancel := context.WithTimeout(t.Context(), labTime)
	t.Cleanup(cancel)
	lab, err := workload.New(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab, ctx
}

// traceLab starts tracing a lab.
func traceLab(t *testing.T, ctx context.Context, lab *workload.Lab, opt tracer.Options) *rig {
	t.Helper()
	opt.Filter.NetNS = lab.NetNS()
	tr, err := tracer.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	tick, err := tracer.Tick()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, lab: lab, tracer: tr, ended: make(chan struct{}), asked: make(chan question)}
	r.flow = flow.New(r, onThisKernel(tr, flow.Options{Tick: tick, Namer: proc.New("/proc")}))
	r.repair = reconciler{flow: r.flow, eyes: tr}
	r.ctx, r.stop = context.WithCancel(ctx)
	go func() {
		defer close(r.ended)
		r.err = tr.Run(r.ctx, r)
	}()
	t.Cleanup(func() {
		r.stop()
		<-r.ended
		tr.Close()
	})
	return r
}

// The rig is a tracer.Handler ...
func (r *rig) Sample(s *event.Sample) error { return r.flow.Sample(s) }

func (r *rig) Advance(ktime int64) error {
	if gate := r.gate.Load(); gate != nil {
		<-*gate
	}
	if err := r.flow.Advance(ktime); err != nil {
		return err
	}
	if err := r.repair.advance(ktime); err != nil {
		return err
	}
	if r.pending == nil {
		select {
		case q := <-r.asked:
			r.pending = &q
		default:
			return nil
		}
	}
	if ktime-int64(60*time.Millisecond) > r.pending.after && (r.pending.met == nil || r.pending.met()) {
		r.pending.done <- r.take()
		r.pending = nil
	}
	return nil
}

// take returns what has come since it was last called. It runs on the tracing goroutine,
// or after that has ended.
func (r *rig) take() *seen {
	stats := r.flow.Stats()
	now := seen{
		rows: slices.Clone(r.rows[r.taken.rows:]), failures: slices.Clone(r.failures[r.taken.failures:]),
		born: stats.Born, reused: stats.Ended[event.EndReusedByConnect], refused: stats.Refused,
		strays: stats.Evicted + stats.Duplicates + stats.Unmatched, countsAtExpiry: r.tracer.CountsAtExpiry(),
	}
	delta := now
	delta.born -= r.taken.totals.born
	delta.reused -= r.taken.totals.reused
	delta.refused -= r.taken.totals.refused
	delta.strays -= r.taken.totals.strays
	r.taken.rows, r.taken.failures, r.taken.totals = len(r.rows), len(r.failures), now
	return &delta
}

// Witness makes it a tracer.Witness.
func (r *rig) Witness(end []tracer.Reading) { r.counted = end }

func (r *rig) Lost(l event.Loss) error {
	r.losses = append(r.losses, l)
	r.repair.loss(&l)
	return nil
}

// ... and a flow.Handler.
func (r *rig) Transition(t *event.Transition) error {
	row := *t
	if t.TimeWait != nil {
		info := *t.TimeWait
		row.TimeWait = &info
	}
	r.rows = append(r.rows, row)
	return nil
}

func (r *rig) ConnectError(e *event.ConnectError) error {
	r.failures = append(r.failures, *e)
	return nil
}

func (r *rig) Release(e *event.Release) error {
	r.releases = append(r.releases, *e)
	return nil
}

// settled waits until everything that has happened so far has come out, and until met
// (which runs on the tracing goroutine) holds. It returns what is new.
func (r *rig) settled(met func() bool) *seen {
	r.t.Helper()
	q := question{after: tracer.Now(), met: met, done: make(chan *seen, 1)}
	select {
	case r.asked <- q:
		select {
		case s := <-q.done:
			return s
		case <-r.ctx.Done():
		}
	case <-r.ctx.Done():
	}
	r.t.Fatal("the trace did not come to the expected point in time")
	return nil
}

// finish ends the trace in an orderly way. Afterwards the rig's fields may be read.
func (r *rig) finish() {
	r.t.Helper()
	r.stop()
	<-r.ended
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		r.t.Fatal(r.err)
	}
	if err := r.flow.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// nothingLost fails the test if anything was lost or missed.
func (r *rig) nothingLost() { r.nothingLostTo(r.t) }

func (r *rig) nothingLostTo(t checker) {
	t.Helper()
	c, err := r.tracer.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	for reason, n := range c.Lost {
		// An fentry program can be preempted, and is then skipped for what another task does
		// meanwhile: hardly any of that is an accept, or a connect that fails; if it was, its
		// row lacks something, and the test finds that.
		if reason == event.LossRecursion {
			n -= c.Details
		}
		if n != 0 {
			t.Errorf("%d lost: %v (skipped: %v)", n, reason, c.Skipped)
		}
	}
	// What fell into a task that this host hides leaves a gap, and the gap is shown.
	gap := t.Errorf
	if hidesInit() {
		gap = t.Logf
	}
	if s := r.flow.Stats(); s.Evicted+s.Duplicates != 0 {
		t.Errorf("evicted %d, duplicates %d", s.Evicted, s.Duplicates)
	} else if s.Unmatched+s.Overdue != 0 {
		gap("unmatched %d, overdue %d", s.Unmatched, s.Overdue)
	}
	// What the kernel side counted as handed over is what came out here.
	if s := r.flow.Stats(); s.Samples != c.Events+uint64(r.tracer.Seed().Sockets+r.tracer.Seed().TimeWaits) {
		t.Errorf("%d samples of %d events", s.Samples, c.Events)
	}
	for i := range r.rows {
		if r.rows[i].Incomplete {
			gap("incomplete: %+v", r.rows[i])
		}
	}
	t.Logf("%d events, %d picked up by a second instance (skipped: %v)", c.Events, c.PickedUp, c.Skipped)
}
