// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"net/netip"
	"time"

	"finwait/tracer/event"
)

// fast reads a transition whose fields are in the Writer's own order, without spaces, and
// reports whether the line was one. Anything else is left to object, which takes it all,
// says what is wrong, and needs twice the time.
func (p *parser) fast(line []byte) bool {
	s, t := &p.scan, &p.rec.Transition
	if !s.word(`{"type":"transition","schema_version":1,"timestamp":"`) || len(line)-s.i <= timestampLen {
		return false
	}
	wall, ok := p.times.parse(line[s.i : s.i+timestampLen])
	if s.i += timestampLen; !ok || !s.word(`","ktime_ns":`) {
		return false
	}
	t.KTime = int64(s.uint(maxKTime))
	if !p.fastSocket(&t.Socket) || !s.word(`,"old_state":"`) {
		return false
	}
	t.Old = event.ParseState(s.plain())
	if !s.word(`,"new_state":"`) {
		return false
	}
	t.New = event.ParseState(s.plain())
	if s.word(`,"duration_ns":`) {
		t.Duration = time.Duration(s.uint(1<<63 - 1))
	}
	if s.word(`,"process":`) {
		p.procs.read(s, &t.Process)
	}
	if !s.word(`,"attribution":"`) {
		return false
	}
	t.Attribution, _ = event.ParseAttribution(s.plain())
	if s.word(`,"peer_process":`) {
		p.procs.read(s, &t.PeerProcess)
	}
	if s.word(`,"closer":"`) {
		t.Closer, _ = event.ParseCloser(s.plain())
	}
	if s.word(`,"method":"`) {
		t.Method, _ = event.ParseMethod(s.plain())
	}
	if s.word(`,"call":"`) {
		t.Call, _ = event.ParseMethod(s.plain())
	}
	if s.word(`,"time_wait":`) {
		p.timeWait()
	}
	p.fastTail(t)
	if s.bad != "" || !s.word("}") || s.i != len(line) || !t.Old.Valid() || !t.New.Valid() {
		return false
	}
	if t.Peer.Port() == 0 {
		t.Peer = nowhere(t.Family)
	}
	p.rec.Type, p.rec.KTime, p.rec.Clock.Offset = TypeTransition, t.KTime, wall-t.KTime
	return true
}

func (p *parser) fastSocket(t *event.Socket) bool {
	s := &p.scan
	if s.word(`,"socket":{"cookie":"`) {
		t.Cookie = s.uint(1<<64 - 1)
		if !s.word(`"}`) {
			return false
		}
	}
	if s.word(`,"netns":{"inode":`) {
		t.NetNS = uint32(s.uint(1<<32 - 1))
		if !s.word("}") {
			return false
		}
	}
	switch {
	case s.word(`,"network_type":"ipv4"`):
		t.Family = 4
	case s.word(`,"network_type":"ipv6"`):
		t.Family = 6
	default:
		return false
	}
	if !s.word(`,"local":{"address":"`) {
		return false
	}
	t.Local = s.fastEndpoint()
	if s.word(`,"peer":{"address":"`) {
		t.Peer = s.fastEndpoint()
	}
	if s.word(`,"role":"`) {
		t.Role, _ = event.ParseRole(s.plain())
	}
	return s.bad == ""
}

func (p *parser) fastTail(t *event.Transition) {
	s := &p.scan
	if s.word(`,"idle_ns":`) {
		t.Idle = time.Duration(s.uint(1<<63 - 1))
	}
	if s.word(`,"unread_bytes":`) {
		t.Unread = int64(s.uint(1<<63 - 1))
	}
	if s.word(`,"bytes_sent":`) {
		t.BytesSent = int64(s.uint(1<<63 - 1))
	}
	if s.word(`,"bytes_received":`) {
		t.BytesReceived = int64(s.uint(1<<63 - 1))
	}
	switch {
	case s.word(`,"timestamps":true`):
		t.Timestamps = 1
	case s.word(`,"timestamps":false`):
		t.Timestamps = 0
	}
	if s.word(`,"error":"`) {
		t.Errno = event.ParseErrno(s.plain())
	}
	if s.word(`,"orphan_end_reason":"`) {
		t.Orphan, _ = event.ParseEndReason(s.plain())
	}
	if s.word(`,"existed":true`) {
		t.Existed = true
	}
	if s.word(`,"incomplete":true`) {
		t.Incomplete = true
	}
}

// plain returns the rest of a string without escapes, and steps over its end.
func (s *scan) plain() string {
	for j := s.i; j < len(s.b); j++ {
		if c := s.b[j]; c == '"' {
			text := s.b[s.i:j]
			s.i = j + 1
			return view(text)
		} else if c == '\\' || c < ' ' {
			break
		}
	}
	s.fail("a name")
	return ""
}

// fastEndpoint is what follows {"address":".
func (s *scan) fastEndpoint() netip.AddrPort {
	text := s.plain()
	a, ok := parseIPv4(text)
	if !ok {
		var err error
		if a, err = netip.ParseAddr(text); err != nil || a.Zone() != "" {
			s.fail("an address")
		}
	}
	if !s.word(`,"port":`) {
		s.fail("a port")
	}
	port := s.uint(1<<16 - 1)
	if !s.word("}") {
		s.fail("'}'")
	}
	return netip.AddrPortFrom(a, uint16(port))
}
