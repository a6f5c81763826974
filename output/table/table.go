// SPDX-License-Identifier: Apache-2.0

// Package table writes records as lines for people: columns that line up, the
// process that owns the socket, and a note that says what the step means.
//
// Names of processes are untrusted: control characters in them never reach the
// terminal.
package table

import (
	"io"
	"strconv"
	"time"

	"finwait/tracer/event"
)

// Options configures a [Writer]. The zero value is plain text in local time.
type Options struct {
	Wide   bool // more columns: user, namespace, role, bytes, the other end's process
	Header bool
	Color  bool
	Zone   *time.Location // of the TIME column; nil: local
}

// Writer writes one line for each record. An error of the io.Writer is returned as it is.
type Writer struct {
	w     io.Writer
	clock event.Clock
	opt   Options
	cols  []column
	row   row
	begun bool

	second    int64 // since 1970, of the last time
	clockText []byte
}

// column is a column's heading and how wide it has grown: a table that is still being
// written cannot know its widest line, so it never gets narrower.
type column struct {
	name  string
	width int
	right bool
}

// New returns a Writer of transitions.
func New(w io.Writer, clock event.Clock, opt Options) *Writer {
	if opt.Zone == nil {
		opt.Zone = time.Local
	}
	cols := []column{
		{"TIME", 15, false}, {"PID", 7, true}, {"COMM", 15, false},
		{"LOCAL", 21, false}, {"PEER", 21, false},
		{"TRANSITION", 24, false}, {"MS", 9, true},
	}
	if opt.Wide {
		cols = append(cols, column{"ROLE", 6, false}, column{"KNOWN", 7, false}, column{"UID", 5, true},
			column{"NETNS", 10, true}, column{"SENT", 8, true}, column{"RECEIVED", 8, true},
			column{"PEER PROCESS", 20, false}, column{"CONTAINER", 12, false})
	}
	return &Writer{w: w, clock: clock, opt: opt, cols: append(cols, column{"NOTE", 0, false})}
}

// SetClock changes the clock: the records that follow come from another host, or from
// after a boot.
func (w *Writer) SetClock(c event.Clock) { w.clock = c }

func (w *Writer) header() error {
	if w.begun || !w.opt.Header {
		return nil
	}
	w.begun = true
	r := &w.row
	r.begin(w.cols)
	for i := range w.cols {
		r.add(w.cols[i].name)
		if i < len(w.cols)-1 {
			r.next()
		}
	}
	return w.flush("")
}

const (
	colorReset  = "\x1b[0m"
	colorDim    = "\x1b[2m"
	colorRed    = "\x1b[31m"
	colorYellow = "\x1b[33m"
	colorGreen  = "\x1b[32m"
)

func (w *Writer) flush(color string) error {
	r := &w.row
	for len(r.b) > 0 && r.b[len(r.b)-1] == ' ' {
		r.b = r.b[:len(r.b)-1]
	}
	if color != "" && w.opt.Color {
		line := append([]byte(color), r.b...)
		r.b = append(r.b[:0], append(line, colorReset...)...)
	}
	r.b = append(r.b, '\n')
	_, err := w.w.Write(r.b)
	return err
}

// time adds the time of day; the next one is mostly of the same second.
func (w *Writer) time(ktime int64) {
	t := w.clock.Wall(ktime)
	if second := t.Unix(); second != w.second || w.clockText == nil {
		w.second = second
		w.clockText = t.In(w.opt.Zone).AppendFormat(w.clockText[:0], "15:04:05.")
	}
	r := &w.row
	r.b = append(r.b, w.clockText...)
	n := len(r.b)
	r.b = append(r.b, "000000"...)
	for i, rest := n+5, t.Nanosecond()/1000; rest > 0; i, rest = i-1, rest/10 {
		r.b[i] = byte('0' + rest%10)
	}
}

func (w *Writer) lead(ktime int64, p *event.Process, s *event.Socket) *row {
	r := &w.row
	r.begin(w.cols)
	w.time(ktime)
	r.next()
	if p.Known() {
		r.b = strconv.AppendUint(r.b, uint64(p.PID), 10)
		r.next()
		r.name(&p.Comm)
		r.next()
	} else {
		r.add("-")
		r.next()
		r.add("-")
		r.next()
	}
	r.b = s.Local.AppendTo(r.b)
	r.next()
	r.b = s.Peer.AppendTo(r.b)
	r.next()
	return r
}

// Transition writes one line.
func (w *Writer) Transition(t *event.Transition) error {
	if err := w.header(); err != nil {
		return err
	}
	r := w.lead(t.KTime, &t.Process, &t.Socket)
	r.add(t.Old.String(), " → ", t.New.String())
	r.next()
	r.ms(t.Duration)
	if w.opt.Wide {
		r.wide(&t.Socket, &t.Process, t.Attribution, &t.PeerProcess, t.BytesSent, t.BytesReceived)
	}
	r.note(t)
	return w.flush(color(t))
}

func color(t *event.Transition) string {
	switch {
	case t.Errno != 0 || t.Call == event.MethodLinger0 || t.Call == event.MethodUnreadData:
		return colorRed
	case t.New == event.TimeWait || t.Old == event.TimeWait:
		return colorYellow
	case t.New == event.FinWait1 && t.Closer == event.CloserLocal:
		return colorGreen
	case t.Call == event.MethodUnknown && t.New != event.CloseWait:
		return colorDim
	}
	return ""
}

// ConnectError writes nothing: the transition before it has said so. Only an error
// with a local port chosen by the program comes without its peer, on a line of its own.
func (w *Writer) ConnectError(e *event.ConnectError) error {
	if e.Peer.Port() != 0 {
		return nil
	}
	if err := w.header(); err != nil {
		return err
	}
	r := w.lead(e.KTime, &e.Process, &e.Socket)
	r.add("connect()")
	r.next()
	r.ms(event.Unknown)
	if w.opt.Wide {
		r.wide(&e.Socket, &e.Process, event.Exact, &event.Process{}, event.Unknown, event.Unknown)
	}
	r.add("failed: ", event.ErrnoName(e.Errno))
	return w.flush(colorRed)
}

// Release writes one line: the owner let go of a dead socket.
func (w *Writer) Release(e *event.Release) error {
	if err := w.header(); err != nil {
		return err
	}
	r := w.lead(e.KTime, &e.Process, &e.Socket)
	r.add("CLOSE, released")
	r.next()
	r.ms(e.Held)
	known, note := event.Exact, "its owner closed the dead socket"
	if !e.Process.Known() {
		known, note = event.AttributionUnknown, "nobody holds the dead socket any more"
	}
	if w.opt.Wide {
		r.wide(&e.Socket, &e.Process, known, &event.Process{}, event.Unknown, event.Unknown)
	}
	r.add(note)
	return w.flush(colorDim)
}

// Loss writes a line that cannot be missed.
func (w *Writer) Loss(l *event.Loss) error {
	r := &w.row
	r.begin(w.cols)
	w.time(l.KTime)
	r.add("  *** LOST ", strconv.FormatUint(l.Count, 10), " events: ", l.Reason.String(), " ***")
	return w.flush(colorRed)
}
