// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"finwait/tracer/event"
)

// Transition writes a transition record: the one that a trace is full of. So its fields
// come with their names and punctuation in one piece, and the names of states and verdicts,
// which have nothing to escape, as they are. The order is that of [parser.fast].
func (w *Writer) Transition(t *event.Transition) error {
	o := &w.o
	b := append(o.b[:0], `{"type":"transition","schema_version":1,"timestamp":"`...)
	b = o.appendTime(b, w.clock.Wall(t.KTime))
	b = append(b, `","ktime_ns":`...)
	b = appendInt(b, t.KTime)
	b = o.sockets.append(b, &t.Socket)
	b = append(b, `,"old_state":"`...)
	b = append(b, t.Old.String()...)
	b = append(b, `","new_state":"`...)
	b = append(b, t.New.String()...)
	b = append(b, '"')
	if t.Duration >= 0 {
		b = append(b, `,"duration_ns":`...)
		b = appendInt(b, int64(t.Duration))
	}
	if o.b = b; hasProcess(&t.Process) {
		o.b = append(o.b, `,"process":`...)
		o.b = o.texts.append(o.b, &t.Process)
	}
	o.b = append(o.b, `,"attribution":"`...)
	o.b = append(o.b, t.Attribution.String()...)
	o.b = append(o.b, '"')
	if hasProcess(&t.PeerProcess) {
		o.b = append(o.b, `,"peer_process":`...)
		o.b = o.texts.append(o.b, &t.PeerProcess)
	}
	o.name(`,"closer":"`, t.Closer.String())
	o.name(`,"method":"`, t.Method.String())
	o.name(`,"call":"`, t.Call.String())
	o.timeWait(t.TimeWait)
	o.number(`,"idle_ns":`, int64(t.Idle))
	o.number(`,"unread_bytes":`, t.Unread)
	o.number(`,"bytes_sent":`, t.BytesSent)
	o.number(`,"bytes_received":`, t.BytesReceived)
	switch t.Timestamps {
	case event.Unknown:
	case 1:
		o.b = append(o.b, `,"timestamps":true`...)
	default:
		o.b = append(o.b, `,"timestamps":false`...)
	}
	if t.Errno != 0 {
		o.name(`,"error":"`, event.ErrnoName(t.Errno))
	}
	if t.Orphan != event.EndNone {
		o.name(`,"orphan_end_reason":"`, t.Orphan.String())
	}
	if t.Existed {
		o.b = append(o.b, `,"existed":true`...)
	}
	if t.Incomplete {
		o.b = append(o.b, `,"incomplete":true`...)
	}
	return w.end()
}

// name writes a name from a table of names; none when it is empty.
func (o *object) name(key, v string) {
	if v == "" {
		return
	}
	o.b = append(o.b, key...)
	o.b = append(o.b, v...)
	o.b = append(o.b, '"')
}

// number writes a number that is known.
func (o *object) number(key string, v int64) {
	if v == event.Unknown {
		return
	}
	o.b = append(o.b, key...)
	o.b = appendInt(o.b, v)
}
