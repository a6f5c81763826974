// SPDX-License-Identifier: Apache-2.0

package jsonl

import "finwait/tracer/event"

// Seen writes a socket record.
func (w *Writer) Seen(s *event.Seen) error {
	o := w.begin("socket", s.KTime)
	o.socket(&s.Socket)
	o.str("state", s.State.String())
	atLeast, atMost := s.Lasting()
	o.known("in_state_at_least_ns", int64(atLeast))
	o.known("in_state_at_most_ns", int64(atMost))
	o.list("owners")
	for _, p := range s.Owners {
		o.item()
		o.process("process", p)
		o.close()
	}
	o.endList()
	if s.Has(event.SeenMini) {
		o.nanos("remaining_ns", max(s.Remaining, 0))
	} else {
		o.nanos("since_ack_ns", s.Acked)
		o.nanos("since_data_ns", s.Received)
		o.known("unread_bytes", s.Unread)
	}
	o.bool("timestamps", s.Has(event.SeenTimestamps))
	if s.Has(event.SeenFin) {
		o.bool("peer_closed", true)
	}
	if s.Has(event.SeenOrphan) {
		o.bool("orphan", true)
	}
	return w.end()
}
