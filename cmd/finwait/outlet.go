// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"

	"finwait/tracer/event"
)

// outlet is where a session's records go: the screen, or a recording.
type outlet interface {
	sink
	// begin is called before the first record.
	begin(x *session, start *event.Start) error
	// advance is called a few dozen times a second.
	advance(ktime int64) error
	// close is called after the last record.
	close() error
}

// screen is standard output.
type screen struct {
	sink
	out *stdout
}

func newScreen(w io.Writer, f *liveFlags, clock event.Clock) *screen {
	out := newStdout(w)
	return &screen{sink: newSink(out, f, clock, useColor(f.color, w)), out: out}
}

func (s *screen) Start(e *event.Start) error {
	if t, ok := s.sink.(traceSink); ok {
		return t.Start(e)
	}
	return nil
}

func (s *screen) End(e *event.End) error {
	if t, ok := s.sink.(traceSink); ok {
		return t.End(e)
	}
	return nil
}

// setClock changes the clock that timestamps are made with.
func (s *screen) setClock(c event.Clock) {
	if w, ok := s.sink.(interface{ SetClock(event.Clock) }); ok {
		w.SetClock(c)
	}
}

func (s *screen) begin(*session, *event.Start) error { return nil }
func (s *screen) advance(int64) error                { return s.out.flush() }
func (s *screen) close() error                       { return nil }
