// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"io"

	"finwait/tracer/event"
)

// Writer writes records to an io.Writer, one Write for each. An error of the
// io.Writer is returned as it is.
type Writer struct {
	w     io.Writer
	clock event.Clock
	o     object
}

// New returns a Writer; clock turns ktime into wall-clock time.
func New(w io.Writer, clock event.Clock) *Writer {
	return &Writer{w: w, clock: clock, o: object{b: make([]byte, 0, 2048), texts: &ownerTexts{}, sockets: &socketTexts{}}}
}

// SetClock changes the clock: the records that follow come from another host, or from
// after a boot.
func (w *Writer) SetClock(c event.Clock) { w.clock = c }

func (w *Writer) begin(kind string, ktime int64) *object {
	w.o.b = append(w.o.b[:0], '{')
	w.o.str("type", kind)
	w.o.int("schema_version", event.SchemaVersion)
	w.o.time("timestamp", w.clock.Wall(ktime))
	w.o.int("ktime_ns", ktime)
	return &w.o
}

func (w *Writer) end() error {
	w.o.b = append(w.o.b, '}', '\n')
	_, err := w.w.Write(w.o.b)
	return err
}

func (o *object) socket(s *event.Socket) { o.b = o.sockets.append(o.b, s) }

func (o *object) verdict(c event.Closer, m event.Method) {
	if c != event.CloserUnknown {
		o.str("closer", c.String())
	}
	if m != event.MethodUnknown {
		o.str("method", m.String())
	}
}

func (o *object) timeWait(i *event.TimeWaitInfo) {
	if i == nil {
		return
	}
	o.open("time_wait")
	if i.Duration >= 0 && i.End != event.EndOverflow {
		o.nanos("duration_ns", i.Duration)
	}
	o.str("end_reason", i.End.String())
	if i.End != event.EndOverflow {
		o.int("restarts", int64(i.Restarts))
	}
	if i.Late != event.Unknown {
		o.nanos("late_ns", i.Late)
	}
	if i.Inferred {
		o.bool("inferred", true)
	}
	if i.SuccessorCookie != 0 || i.Successor.Known() {
		o.open("successor")
		if i.SuccessorCookie != 0 {
			o.id("cookie", i.SuccessorCookie)
		}
		o.process("process", &i.Successor)
		o.close()
	}
	o.close()
}

func (o *object) known(k string, v int64) {
	if v != event.Unknown {
		o.int(k, v)
	}
}

func (o *object) tail(timestamps int8, errno uint16, orphan event.EndReason, existed, incomplete bool) {
	if timestamps != event.Unknown {
		o.bool("timestamps", timestamps == 1)
	}
	if errno != 0 {
		o.str("error", event.ErrnoName(errno))
	}
	if orphan != event.EndNone {
		o.str("orphan_end_reason", orphan.String())
	}
	if existed {
		o.bool("existed", true)
	}
	if incomplete {
		o.bool("incomplete", true)
	}
}

// ConnectError writes a connect_error record.
func (w *Writer) ConnectError(e *event.ConnectError) error {
	o := w.begin("connect_error", e.KTime)
	o.socket(&e.Socket)
	o.process("process", &e.Process)
	if e.Errno != 0 {
		o.str("error", event.ErrnoName(e.Errno))
	}
	return w.end()
}

// Release writes a release record.
func (w *Writer) Release(r *event.Release) error {
	o := w.begin("release", r.KTime)
	o.socket(&r.Socket)
	o.process("process", &r.Process)
	if r.Process.Known() {
		o.str("attribution", event.Exact.String())
	} else {
		o.str("attribution", event.AttributionUnknown.String())
	}
	if r.Held >= 0 {
		o.nanos("held_ns", r.Held)
	}
	return w.end()
}

// Close writes a close record.
func (w *Writer) Close(c *event.CloseRecord) error {
	o := w.begin("close", c.KTime)
	o.socket(&c.Socket)
	o.process("process", &c.Process)
	o.str("attribution", c.Attribution.String())
	o.process("peer_process", &c.PeerProcess)
	o.verdict(c.Closer, c.Method)
	o.open("states")
	for s, d := range c.States {
		if d >= 0 && event.State(s).Valid() {
			o.nanos(event.State(s).String(), d)
		}
	}
	o.close()
	o.timeWait(c.TimeWait)
	o.known("idle_ns", int64(c.Idle))
	o.known("unread_bytes", c.Unread)
	o.known("bytes_sent", c.BytesSent)
	o.known("bytes_received", c.BytesReceived)
	o.tail(c.Timestamps, c.Errno, c.Orphan, c.Existed, c.Incomplete)
	return w.end()
}
