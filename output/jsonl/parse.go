// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"finwait/tracer/event"
)

// parser turns lines into records.
type parser struct {
	scan  scan
	procs processes
	times timestamps
	rec   Record
	held  time.Duration
	seen  fields
}

// maxKTime is 146 years: a larger one is no time since a boot.
const maxKTime = 1<<62 - 1

// fields says which of the fields have come that a record cannot be without.
type fields uint8

const (
	seenKTime fields = 1 << iota
	seenTimestamp
	seenLocal
	seenOld
	seenNew
	seenFamily
)

// parse reads a line into p.rec. ErrVersion is the only error that other lines will have too.
func (p *parser) parse(line []byte) error {
	if p.begin(line); p.fast(line) {
		return nil
	}
	p.begin(line)
	version, kind := p.object()
	s := &p.scan
	if s.peek(); s.i < len(s.b) {
		s.fail("nothing more on the line")
	}
	if s.bad != "" || version != event.SchemaVersion || kind == TypeOther {
		return p.odd(line)
	}
	p.rec.Type = kind
	if p.seen&(seenKTime|seenTimestamp) != seenKTime|seenTimestamp {
		return fmt.Errorf("%w: %s without ktime_ns or timestamp", ErrRecord, kind)
	}
	return p.complete(line)
}

func (p *parser) begin(line []byte) {
	p.scan = scan{b: line}
	p.seen, p.held = 0, event.Unknown
	p.rec.KTime, p.rec.Clock, p.rec.Type = 0, event.Clock{}, TypeOther
	p.rec.Transition = event.Transition{
		Duration: event.Unknown, Idle: event.Unknown, Unread: event.Unknown,
		BytesSent: event.Unknown, BytesReceived: event.Unknown, Timestamps: event.Unknown,
	}
}

// object reads the fields of every type of record into the one transition.
func (p *parser) object() (version uint64, kind Type) {
	s, t := &p.scan, &p.rec.Transition
	var wall int64
	s.open('{')
	for {
		key, ok := s.more()
		if !ok {
			break
		}
		switch string(key) {
		case "type":
			kind = parseType(s.name())
		case "schema_version":
			version = s.uint(1<<64 - 1)
		case "timestamp":
			raw, _ := s.text()
			var valid bool
			if wall, valid = p.times.parse(raw); !valid {
				s.fail("a timestamp")
			}
			p.seen |= seenTimestamp
		case "ktime_ns":
			p.rec.KTime = int64(s.uint(maxKTime))
			p.seen |= seenKTime
		case "socket":
			s.open('{')
			for {
				key, ok := s.more()
				if !ok {
					break
				}
				if string(key) == "cookie" {
					t.Cookie = s.id()
				} else {
					s.skip(0)
				}
			}
		case "netns":
			s.open('{')
			for {
				key, ok := s.more()
				if !ok {
					break
				}
				if string(key) == "inode" {
					t.NetNS = uint32(s.uint(1<<32 - 1))
				} else {
					s.skip(0)
				}
			}
		case "network_type":
			p.seen |= seenFamily
			switch s.name() {
			case "ipv4":
				t.Family = 4
			case "ipv6":
				t.Family = 6
			default:
				s.fail("ipv4 or ipv6")
			}
		case "local":
			t.Local = s.endpoint()
			p.seen |= seenLocal
		case "peer":
			t.Peer = s.endpoint()
		case "role":
			t.Role, _ = event.ParseRole(s.name())
		case "old_state":
			t.Old = event.ParseState(s.name())
			p.seen |= seenOld
		case "new_state":
			t.New = event.ParseState(s.name())
			p.seen |= seenNew
		case "duration_ns":
			t.Duration = time.Duration(s.uint(1<<63 - 1))
		case "process":
			p.procs.read(s, &t.Process)
		case "attribution":
			t.Attribution, _ = event.ParseAttribution(s.name())
		case "peer_process":
			p.procs.read(s, &t.PeerProcess)
		case "closer":
			t.Closer, _ = event.ParseCloser(s.name())
		case "method":
			t.Method, _ = event.ParseMethod(s.name())
		case "call":
			t.Call, _ = event.ParseMethod(s.name())
		case "time_wait":
			p.timeWait()
		case "idle_ns":
			t.Idle = time.Duration(s.uint(1<<63 - 1))
		case "unread_bytes":
			t.Unread = int64(s.uint(1<<63 - 1))
		case "bytes_sent":
			t.BytesSent = int64(s.uint(1<<63 - 1))
		case "bytes_received":
			t.BytesReceived = int64(s.uint(1<<63 - 1))
		case "timestamps":
			t.Timestamps = 0
			if s.bool() {
				t.Timestamps = 1
			}
		case "error":
			t.Errno = event.ParseErrno(s.name())
		case "orphan_end_reason":
			t.Orphan, _ = event.ParseEndReason(s.name())
		case "existed":
			t.Existed = s.bool()
		case "incomplete":
			t.Incomplete = s.bool()
		case "held_ns":
			p.held = time.Duration(s.uint(1<<63 - 1))
		default:
			s.skip(0)
		}
	}
	p.rec.Clock.Offset = wall - p.rec.KTime
	t.KTime = p.rec.KTime
	return version, kind
}

// complete makes the record that its type names of what has been read.
func (p *parser) complete(line []byte) (err error) {
	r, t := &p.rec, &p.rec.Transition
	need := fields(0)
	switch r.Type {
	case TypeTransition:
		need = seenOld | seenNew | seenLocal | seenFamily
		if p.seen&need == need && (!t.Old.Valid() || !t.New.Valid()) {
			return fmt.Errorf("%w: transition between states that TCP does not have", ErrRecord)
		}
	case TypeConnectError, TypeRelease:
		need = seenLocal | seenFamily
	}
	if p.seen&need != need {
		return fmt.Errorf("%w: %s without its addresses or states", ErrRecord, r.Type)
	}
	if t.Peer.Port() == 0 {
		t.Peer = nowhere(t.Family)
	}
	switch r.Type {
	case TypeConnectError:
		r.ConnectError = event.ConnectError{KTime: r.KTime, Socket: t.Socket, Process: t.Process, Errno: t.Errno}
	case TypeRelease:
		r.Release = event.Release{KTime: r.KTime, Socket: t.Socket, Process: t.Process, Held: p.held}
	case TypeLoss:
		err = p.loss(line)
	case TypeStart:
		r.Start, err = readStart(line, r.KTime)
	case TypeEnd:
		r.End, err = readEnd(line, r.KTime)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return nil
}

// nowhere is the peer of a socket that has none yet.
func nowhere(family uint8) netip.AddrPort {
	if family == 6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// odd says what to make of a line that is not a record of this version: one of another
// version, one of a type that came later, or none at all.
func (p *parser) odd(line []byte) error {
	bad, at := p.scan.bad, 0
	var head struct {
		Type    *string `json:"type"`
		Version *uint64 `json:"schema_version"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			at = int(syntax.Offset)
		}
		return fmt.Errorf("%w: byte %d: %w", ErrRecord, at, err)
	}
	switch {
	case head.Type == nil || head.Version == nil:
		return fmt.Errorf("%w: no type or no schema_version", ErrRecord)
	case *head.Version != event.SchemaVersion:
		return fmt.Errorf("%w %d; this finwait reads version %d", ErrVersion, *head.Version, event.SchemaVersion)
	case parseType(*head.Type) == TypeOther:
		p.rec.Type = TypeOther
		return nil
	}
	return fmt.Errorf("%w: %s: want %s", ErrRecord, *head.Type, bad)
}
