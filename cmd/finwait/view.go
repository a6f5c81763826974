// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"finwait/output/filter"
	"finwait/tracer/event"
	"finwait/tracer/flow"
)

// errEnough ends a view that has shown as many rows as were asked for.
var errEnough = errors.New("enough")

// view is everything after the flow, the same for live and replayed records: it chooses
// them, adds them up to closes where that is asked for, hands rows to a sink, and counts.
type view struct {
	filter  filter.Filter
	sink    sink
	byClose bool
	limit   uint64 // rows; 0: none
	rows    uint64
	end     event.End
	cut     bool // there is no trace_end to tell the totals
	closers map[event.Closer]uint64
}

func newView(s sink, f *liveFlags, flt filter.Filter) *view {
	return &view{
		filter: flt, sink: s, byClose: f.view == "closes", limit: f.count,
		end: event.End{Lost: map[event.LossReason]uint64{}}, closers: map[event.Closer]uint64{},
	}
}

// full: as many rows as were asked for are out. What follows is only counted.
func (v *view) full() bool { return v.limit > 0 && v.rows >= v.limit }

func (v *view) row(err error) error {
	if err != nil {
		return err
	}
	v.rows++
	if v.full() {
		return errEnough
	}
	return nil
}

// stream is one trace on its way through a view. Each has closes of its own: what two
// hosts call the same socket is not the same.
type stream struct {
	*view
	closes  *flow.Closes // nil in the transitions view
	evicted uint64
}

func (v *view) stream() *stream {
	s := &stream{view: v}
	if v.byClose {
		s.closes = flow.NewCloses(0, v.close)
	}
	return s
}

// Start hands trace_start to sinks that have it.
func (s *stream) Start(start *event.Start) error {
	if t, ok := s.sink.(traceSink); ok {
		return t.Start(start)
	}
	return nil
}

// Transition, ConnectError and Release make a stream a flow.Handler.
func (s *stream) Transition(t *event.Transition) error {
	chosen := s.filter.Socket(&t.Socket, &t.Process)
	if chosen {
		s.count(t)
	}
	if s.closes != nil {
		return s.closes.Transition(t)
	}
	if s.full() || !chosen || !s.filter.Verdict(t.Closer, t.Method) {
		return nil
	}
	return s.row(s.sink.Transition(t))
}

// count adds a row to the totals: of the sockets that were asked for, and not of their other ends, which the
// kernel side lets through as well.
func (v *view) count(t *event.Transition) {
	v.end.Transitions++
	switch {
	case t.Old == event.Established:
		v.end.Closes++
		v.closers[t.Closer]++
	case t.New == event.Closing && v.closers[event.CloserLocal] > 0:
		v.closers[event.CloserLocal]--
		v.closers[event.CloserBoth]++
	}
}

func (s *stream) ConnectError(e *event.ConnectError) error {
	if !s.filter.Socket(&e.Socket, &e.Process) {
		return nil
	}
	s.end.Errors++
	if s.full() || !s.filter.AnyVerdict() {
		return nil
	}
	return s.sink.ConnectError(e)
}

func (s *stream) Release(r *event.Release) error {
	if s.closes != nil {
		return s.closes.Release(r)
	}
	if s.full() || !s.filter.AnyVerdict() || !s.filter.Socket(&r.Socket, &r.Process) {
		return nil
	}
	return s.row(s.sink.Release(r))
}

func (v *view) close(c *event.CloseRecord) error {
	if v.full() || !v.filter.Socket(&c.Socket, &c.Process) || !v.filter.Verdict(c.Closer, c.Method) {
		return nil
	}
	return v.row(v.sink.Close(c))
}

// Loss shows a loss, whatever the filters are.
func (s *stream) Loss(l *event.Loss) error {
	s.end.Lost[l.Reason] += l.Count
	return s.sink.Loss(l)
}

// flush hands out the closes that are not over when the trace is.
func (s *stream) flush(ktime int64) error {
	if s.closes == nil {
		return nil
	}
	err := s.closes.Flush(ktime)
	if errors.Is(err, errEnough) {
		err = nil
	}
	if n := s.closes.Evicted - s.evicted; n > 0 {
		s.evicted = s.closes.Evicted
		err = errors.Join(err, s.Loss(&event.Loss{KTime: ktime, Reason: event.LossEvicted, Count: n}))
	}
	return err
}

// conclude ends the trace with the record that it ends with.
func (s *stream) conclude(e *event.End) error {
	err := s.flush(e.KTime)
	if t, ok := s.sink.(traceSink); ok {
		err = errors.Join(err, t.End(e))
	}
	return err
}

// totals is the line that a session, or a replay, ends with.
func (v *view) totals() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d transitions, %d connection ends closed", v.end.Elapsed.Round(100*time.Millisecond), v.end.Transitions, v.end.Closes)
	sep := " ("
	for _, c := range []event.Closer{event.CloserLocal, event.CloserPeer, event.CloserBoth, event.CloserKernel} {
		if n := v.closers[c]; n > 0 {
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
	fmt.Fprintf(&b, ", %d connects failed", v.end.Errors)
	if !v.cut {
		fmt.Fprintf(&b, ", %d TIME_WAIT sockets began, %d are still open", v.end.Born, v.end.Open)
	}
	b.WriteString("; ")
	switch {
	case v.end.Complete() && v.cut:
		b.WriteString("nothing was lost up to where the recording is cut")
	case v.end.Complete():
		b.WriteString("nothing was lost")
	default:
		b.WriteString("LOST")
		for _, r := range event.LossReasons {
			if n := v.end.Lost[r]; n > 0 {
				fmt.Fprintf(&b, " %d %s", n, r)
			}
		}
	}
	if d := differences(v.end.Kernel); d != "" {
		b.WriteString("; the kernel's own counters DIFFER: " + d)
	}
	return b.String()
}
