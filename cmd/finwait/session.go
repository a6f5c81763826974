// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"finwait/output/filter"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
)

// errEnough ends a session that has shown as many rows as were asked for.
var errEnough = errors.New("enough")

// session carries samples through flow, filter and view to a sink, and counts.
type session struct {
	flow    *flow.Flow
	closes  *flow.Closes // nil in the transitions view
	filter  filter.Filter
	sink    sink
	limit   uint64 // rows; 0: none
	rows    uint64
	flush   func() error
	began   int64
	now     int64
	end     event.End
	evicted uint64
	closers map[event.Closer]uint64
}

func newSession(s sink, f *liveFlags, flt filter.Filter, opt flow.Options, flush func() error) *session {
	x := &session{
		sink: s, filter: flt, limit: f.count, flush: flush, began: tracer.Now(),
		end: event.End{Lost: map[event.LossReason]uint64{}}, closers: map[event.Closer]uint64{},
	}
	if f.view == "closes" {
		x.closes = flow.NewCloses(0, x.close)
	}
	x.flow = flow.New(x, opt)
	return x
}

// Sample, Advance and Lost make a session a tracer.Handler.
func (x *session) Sample(s *event.Sample) error { return x.flow.Sample(s) }

// Advance hands on what is settled and flushes the output.
func (x *session) Advance(ktime int64) error {
	x.now = ktime
	if err := x.flow.Advance(ktime); err != nil {
		return err
	}
	if stats := x.flow.Stats(); stats.Evicted > x.evicted {
		l := event.Loss{KTime: ktime, Since: x.began, Reason: event.LossEvicted, Count: stats.Evicted - x.evicted}
		x.evicted = stats.Evicted
		if err := x.Lost(l); err != nil {
			return err
		}
	}
	return x.flush()
}

// Lost shows a loss, whatever the filters are.
func (x *session) Lost(l event.Loss) error {
	x.end.Lost[l.Reason] += l.Count
	x.flow.Lossy()
	return x.sink.Loss(&l)
}

func (x *session) row(err error) error {
	if err != nil {
		return err
	}
	x.rows++
	if x.limit > 0 && x.rows >= x.limit {
		return errEnough
	}
	return nil
}

// Transition, ConnectError and Release make a session a flow.Handler.
func (x *session) Transition(t *event.Transition) error {
	x.end.Transitions++
	switch {
	case t.Old == event.Established:
		x.end.Closes++
		x.closers[t.Closer]++
	case t.New == event.Closing:
		x.closers[event.CloserLocal]--
		x.closers[event.CloserBoth]++
	}
	if x.closes != nil {
		return x.closes.Transition(t)
	}
	if !x.filter.Socket(&t.Socket, &t.Process) || !x.filter.Verdict(t.Closer, t.Method) {
		return nil
	}
	return x.row(x.sink.Transition(t))
}

func (x *session) ConnectError(e *event.ConnectError) error {
	x.end.Errors++
	if !x.filter.AnyVerdict() || !x.filter.Socket(&e.Socket, &e.Process) {
		return nil
	}
	return x.sink.ConnectError(e)
}

func (x *session) Release(r *event.Release) error {
	if x.closes != nil {
		return x.closes.Release(r)
	}
	if !x.filter.AnyVerdict() || !x.filter.Socket(&r.Socket, &r.Process) {
		return nil
	}
	return x.row(x.sink.Release(r))
}

func (x *session) close(c *event.CloseRecord) error {
	if !x.filter.Socket(&c.Socket, &c.Process) || !x.filter.Verdict(c.Closer, c.Method) {
		return nil
	}
	return x.row(x.sink.Close(c))
}

// finish hands on what was still waiting, and the last record.
func (x *session) finish(pickedUp uint64) error {
	errs := []error{x.flow.Flush()}
	if x.closes != nil {
		errs = append(errs, x.closes.Flush(x.now))
	}
	stats := x.flow.Stats()
	x.end.KTime, x.end.Elapsed = tracer.Now(), time.Duration(tracer.Now()-x.began)
	x.end.Born, x.end.Open, x.end.PickedUp = stats.Born, stats.TimeWaits, pickedUp
	if t, ok := x.sink.(traceSink); ok {
		errs = append(errs, t.End(&x.end))
	}
	return errors.Join(append(errs, x.flush())...)
}

// totals is the line that a session ends with.
func (x *session) totals() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d transitions, %d connection ends closed", x.end.Elapsed.Round(100*time.Millisecond), x.end.Transitions, x.end.Closes)
	sep := " ("
	for _, c := range []event.Closer{event.CloserLocal, event.CloserPeer, event.CloserBoth, event.CloserKernel} {
		if n := x.closers[c]; n > 0 {
			fmt.Fprintf(&b, "%s%d %s", sep, n, map[event.Closer]string{
				event.CloserLocal: "by this end first", event.CloserPeer: "by the peer first",
				event.CloserBoth: "by both at once", event.CloserKernel: "by the kernel",
			}[c])
			sep = ", "
		}
	}
	if sep != " (" {
		b.WriteString(")")
	}
	fmt.Fprintf(&b, ", %d connects failed, %d TIME_WAIT sockets began, %d are still open; ", x.end.Errors, x.end.Born, x.end.Open)
	if x.end.Complete() {
		b.WriteString("nothing was lost")
		return b.String()
	}
	b.WriteString("LOST")
	for _, r := range event.LossReasons {
		if n := x.end.Lost[r]; n > 0 {
			fmt.Fprintf(&b, " %d %s", n, r)
		}
	}
	return b.String()
}
