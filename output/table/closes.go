// SPDX-License-Identifier: Apache-2.0

package table

import (
	"io"
	"time"

	"finwait/tracer/event"
)

// NewCloses returns a Writer of whole connections.
func NewCloses(w io.Writer, clock event.Clock, opt Options) *Writer {
	t := New(w, clock, opt)
	cols := []column{
		{"TIME", 15, false}, {"PID", 7, true}, {"COMM", 15, false},
		{"LOCAL", 21, false}, {"PEER", 21, false},
		{"CLOSER", 6, false}, {"METHOD", 11, false}, {"OPEN MS", 9, true}, {"CLOSING MS", 10, true}, {"TIME_WAIT MS", 12, true},
	}
	if opt.Wide {
		for _, c := range t.cols[7 : len(t.cols)-1] {
			cols = append(cols, c)
		}
	}
	t.cols = append(cols, column{"NOTE", 0, false})
	return t
}

// Close writes one line for a whole connection.
func (w *Writer) Close(c *event.CloseRecord) error {
	if err := w.header(); err != nil {
		return err
	}
	r := w.lead(c.KTime, &c.Process, &c.Socket)
	r.orDash(c.Closer.String())
	r.orDash(c.Method.String())
	r.ms(c.States[event.Established])
	var closing time.Duration
	for _, s := range []event.State{event.FinWait1, event.FinWait2, event.Closing, event.CloseWait, event.LastAck} {
		closing += max(c.States[s], 0)
	}
	r.ms(closing)
	r.ms(c.States[event.TimeWait])
	if w.opt.Wide {
		r.wide(&c.Socket, &c.Process, c.Attribution, &c.PeerProcess, c.BytesSent, c.BytesReceived)
	}
	switch {
	case c.TimeWait != nil:
		r.timeWaitNote(c.TimeWait)
	case c.Orphan != event.EndNone:
		r.orphanNote(&event.Transition{Orphan: c.Orphan})
	case c.Errno != 0:
		r.add(event.ErrnoName(c.Errno))
	}
	r.who(&c.PeerProcess)
	if c.Incomplete {
		r.sep()
		r.add("steps were lost")
	}
	return w.flush("")
}

func (r *row) orDash(s string) {
	if s == "" {
		s = "-"
	}
	r.add(s)
	r.next()
}
