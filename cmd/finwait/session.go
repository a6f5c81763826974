// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
)

// session carries samples through the flow to a view.
type session struct {
	*stream
	flow    *flow.Flow
	repair  reconciler
	audit   *audit
	seed    []tracer.Reading
	out     func(ktime int64) error // hands on what the sink has buffered
	began   int64
	now     int64
	evicted uint64
	thrift  *thrift
}

// newSession is for a trace that began with start; out is called a few dozen times a second.
func newSession(v *view, t *tracer.Tracer, start *event.Start, opt flow.Options, f tracer.Filter, out func(int64) error) *session {
	x := &session{stream: v.stream(), thrift: newThrift(), out: out, began: start.KTime, now: start.KTime, seed: t.Seed().Readings}
	x.audit = newAudit(x.seed, f)
	opt.Tick, opt.Counter = start.Tick, x.audit
	x.flow = flow.New(x.stream, onThisKernel(t, opt))
	x.repair = reconciler{flow: x.flow, eyes: t}
	return x
}

// onThisKernel completes opt with what the flow has to know of this kernel.
func onThisKernel(t *tracer.Tracer, opt flow.Options) flow.Options {
	opt.SegmentsSeen, opt.NamelessSegments, opt.CountsAtExpiry = t.SegmentsSeen(), t.NamelessSegments(), t.CountsAtExpiry()
	return opt
}

// Sample, Advance and Lost make a session a tracer.Handler, and Witness a tracer.Witness.
func (x *session) Sample(s *event.Sample) error { return x.flow.Sample(s) }

// Advance hands on what is settled and flushes the output.
func (x *session) Advance(ktime int64) error {
	x.now = ktime
	x.thrift.advance(ktime)
	if err := x.flow.Advance(ktime); err != nil {
		return err
	}
	if err := x.repair.advance(ktime); err != nil {
		return err
	}
	if stats := x.flow.Stats(); stats.Evicted > x.evicted {
		l := event.Loss{KTime: ktime, Since: x.began, Reason: event.LossEvicted, Count: stats.Evicted - x.evicted}
		x.evicted = stats.Evicted
		if err := x.Lost(l); err != nil {
			return err
		}
	}
	return x.out(ktime)
}

// Lost shows a loss, and makes the flow careful.
func (x *session) Lost(l event.Loss) error {
	x.repair.loss(&l)
	return x.Loss(&l)
}

// Witness keeps the kernel's own counts at the end.
func (x *session) Witness(readings []tracer.Reading) { x.audit.end = byNamespace(readings) }

// soFar is what trace_end would say now.
func (x *session) soFar(ktime int64) event.End {
	stats := x.flow.Stats()
	e := x.end
	e.KTime, e.Elapsed, e.Born, e.Open = ktime, time.Duration(ktime-x.began), stats.Born, stats.TimeWaits
	e.Lost = make(map[event.LossReason]uint64, len(x.end.Lost))
	for r, n := range x.end.Lost {
		e.Lost[r] = n
	}
	return e
}

// finish hands on what was still waiting, and the last record.
func (x *session) finish(pickedUp uint64) error {
	err := x.flow.Flush()
	if errors.Is(err, errEnough) {
		err = x.flow.Flush() // the rest is only counted
	}
	errs := []error{err}
	x.end = x.soFar(tracer.Now())
	x.end.PickedUp = pickedUp
	if x.audit.end != nil {
		x.end.Kernel = x.audit.result(x.seed)
	}
	errs = append(errs, x.conclude(&x.end), x.out(x.end.KTime))
	return errors.Join(errs...)
}
