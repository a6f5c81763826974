// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// TestConstants holds the Go constants against the header that the kernel side is compiled from.
func TestConstants(t *testing.T) {
	h := readHeader(t)
	for name, want := range map[string]map[string]uint64{
		"event_kind": {
			"EVENT_TRANSITION": uint64(event.KindTransition), "EVENT_TW_ARMED": uint64(event.KindArmed),
			"EVENT_TW_DEAD": uint64(event.KindDead), "EVENT_TW_WHY": uint64(event.KindWhy),
			"EVENT_TW_REFUSED": uint64(event.KindRefused), "EVENT_TW_SEEN": uint64(event.KindMiniSeen),
			"EVENT_SOCK_SEEN": uint64(event.KindSockSeen), "EVENT_RELEASE": uint64(event.KindRelease),
			"EVENT_CONNECT_ERROR": uint64(event.KindConnectError),
		},
		"attribution": {
			"ATTR_NONE": uint64(event.AttributionUnknown), "ATTR_EXACT": uint64(event.Exact),
			"ATTR_CACHED": uint64(event.Cached), "ATTR_SEEDED": uint64(event.Seeded),
		},
		"role": {"ROLE_UNKNOWN": uint64(event.RoleUnknown), "ROLE_CLIENT": uint64(event.Client), "ROLE_SERVER": uint64(event.Server)},
		"tw_reason": {
			"TW_UNKNOWN": uint64(event.ReasonUnknown), "TW_EXPIRED": uint64(event.ReasonExpired),
			"TW_CONNECT": uint64(event.ReasonConnect), "TW_SYN": uint64(event.ReasonSyn),
			"TW_RESET": uint64(event.ReasonReset), "TW_NETNS": uint64(event.ReasonNetns),
		},
		"event_flags": {
			"EVENT_OWNER": uint64(event.FlagOwner), "EVENT_CALL": uint64(event.FlagCall),
			"EVENT_EXITING": uint64(event.FlagExiting), "EVENT_ORPHAN": uint64(event.FlagOrphan),
			"EVENT_CLOSING": uint64(event.FlagClosing), "EVENT_LINGER0": uint64(event.FlagLinger0),
			"EVENT_SHUT_BOTH": uint64(event.FlagShutBoth), "EVENT_TIMESTAMPS": uint64(event.FlagTimestamps),
			"EVENT_LINGER2": uint64(event.FlagLinger2), "EVENT_REQUEUED": uint64(event.FlagRequeued),
			"EVENT_FULL": uint64(event.FlagFull), "EVENT_UNACCEPTED": uint64(event.FlagUnaccepted),
		},
		"seen_flags": {
			"SEEN_MINI": uint64(event.SeenMini), "SEEN_TIMESTAMPS": uint64(event.SeenTimestamps), "SEEN_BOUND": uint64(event.SeenBound),
			"SEEN_BACKLOG": uint64(event.SeenBacklog), "SEEN_ORPHAN": uint64(event.SeenOrphan), "SEEN_FIN": uint64(event.SeenFin),
		},
		"counter": {
			"COUNT_EVENTS": countEvents, "COUNT_RING_FULL": countRingFull, "COUNT_MAP_FULL": countMapFull,
			"COUNT_STATE_AGAIN": countStateAgain, "COUNT_DESTROY_AGAIN": countDestroyAgain, "COUNT_DROP_AGAIN": countDropAgain, "COUNT_ACCEPT_AGAIN": countAcceptAgain,
			"COUNT_MAX": countAcceptAgain + 1,
		},
	} {
		h.enumNames(t, name)
		if diff := cmp.Diff(h.enums[name], want); diff != "" {
			t.Errorf("enum %s (-event.h +Go):\n%s", name, diff)
		}
	}
	sizes := map[string]int{"event": sampleSize, "owner": ownerSize, "owned_event": ownedSampleSize, "seen": seenSize, "held": heldSize}
	if diff := cmp.Diff(h.sizes, sizes); diff != "" {
		t.Errorf("static asserts (-event.h +Go):\n%s", diff)
	}
	for name, size := range sizes {
		if got := h.structs[name].size; got != size {
			t.Errorf("the fields of struct %s fill %d bytes, want %d: is there padding that is not written out?", name, got, size)
		}
	}
}

// record builds a record by the names that bpf/event.h gives the fields.
type record struct {
	t   *testing.T
	h   header
	raw []byte

	kind string // struct; "": event
}

func newRecord(t *testing.T, h header, kind event.Kind) *record {
	r := &record{t: t, h: h, raw: make([]byte, sampleSize)}
	return r.set("kind", uint64(kind)).set("family", 4).set("old_state", uint64(event.Established)).
		set("new_state", uint64(event.FinWait2)).set("ktime", 1)
}

func (r *record) set(name string, v uint64) *record {
	r.t.Helper()
	kind := r.kind
	if kind == "" {
		kind = "event"
	}
	at, in := r.h.structs[kind].fields[name], r.raw
	if owner, ok := strings.CutPrefix(name, "owner."); ok {
		if len(r.raw) == sampleSize {
			r.raw = append(r.raw, make([]byte, ownerSize)...)
			r.set("flags", uint64(event.FlagOwner))
		}
		at, in = r.h.structs["owner"].fields[owner], r.raw[sampleSize:]
	}
	switch ne := binary.NativeEndian; at.size {
	case 1:
		in[at.offset] = byte(v)
	case 2:
		ne.PutUint16(in[at.offset:], uint16(v))
	case 4:
		ne.PutUint32(in[at.offset:], uint32(v))
	case 8:
		ne.PutUint64(in[at.offset:], v)
	case 16:
		for i := range 16 {
			in[at.offset+i] = byte(v) + byte(i)
		}
	default:
		r.t.Fatalf("event.h has no field %s that can be set", name)
	}
	return r
}

// sixteen is what set writes into a field of 16 bytes.
func sixteen(v byte) (b [16]byte) {
	for i := range b {
		b[i] = v + byte(i)
	}
	return b
}

// TestDecodeFields sets every field of the wire, one after the other, and looks where it comes out.
func TestDecodeFields(t *testing.T) {
	h := readHeader(t)
	common := map[string]func(*event.Sample){
		"ktime":       func(s *event.Sample) { s.KTime = 0x77 },
		"cookie":      func(s *event.Sample) { s.Cookie = 0x77 },
		"sock":        func(s *event.Sample) { s.Sock = 0x77 },
		"cgroup":      func(s *event.Sample) { s.Cgroup = 0x77 },
		"local":       func(s *event.Sample) { s.Local = sixteen(0x77) },
		"peer":        func(s *event.Sample) { s.Peer = sixteen(0x77) },
		"netns":       func(s *event.Sample) { s.NetNS = 0x77 },
		"unread":      func(s *event.Sample) { s.Unread = 0x77 },
		"local_port":  func(s *event.Sample) { s.LocalPort = 0x77 },
		"peer_port":   func(s *event.Sample) { s.PeerPort = 0x77 },
		"error":       func(s *event.Sample) { s.Errno = 0x77 },
		"flags":       func(s *event.Sample) { s.Flags = 0x76 },
		"family":      func(s *event.Sample) { s.Family = 6 },
		"old_state":   func(s *event.Sample) { s.Old = event.CloseWait },
		"new_state":   func(s *event.Sample) { s.New = event.TimeWait },
		"attribution": func(s *event.Sample) { s.Attribution = event.Seeded },
		"role":        func(s *event.Sample) { s.Role = event.Server },
		"reason":      func(s *event.Sample) { s.Reason = event.ReasonNetns },

		"owner.start_ns":  func(s *event.Sample) { s.Owner.StartNS = 0x77 },
		"owner.tgid":      func(s *event.Sample) { s.Owner.PID = 0x77 },
		"owner.tid":       func(s *event.Sample) { s.Owner.TID = 0x77 },
		"owner.uid":       func(s *event.Sample) { s.Owner.UID = 0x77 },
		"owner.exit_code": func(s *event.Sample) { s.Owner.ExitCode = 0x77 },
		"owner.comm":      func(s *event.Sample) { s.Owner.Comm = sixteen(0x77) },
		"owner.thread":    func(s *event.Sample) { s.Owner.Thread = sixteen(0x77) },
	}
	transition := map[string]func(*event.Sample){
		"since":          func(s *event.Sample) { s.Since = 0x77 },
		"established":    func(s *event.Sample) { s.Established = 0x77 },
		"bytes_sent":     func(s *event.Sample) { s.BytesSent = 0x77 },
		"bytes_received": func(s *event.Sample) { s.BytesReceived = 0x77 },
		"aux":            func(s *event.Sample) { s.IdleJiffies = 0x77 },
	}
	mini := map[string]func(*event.Sample){
		"expires":   func(s *event.Sample) { s.Expires = 0x77 },
		"jiffies":   func(s *event.Sample) { s.Jiffies = 0x77 },
		"successor": func(s *event.Sample) { s.Successor = 0x77 },
		"bucket":    func(s *event.Sample) { s.Bucket = 0x77 },
		"aux":       func(s *event.Sample) { s.EntryStamp = 0x77 },
	}
	// Fields that are not simply numbers take the value that the table expects.
	special := map[string]uint64{
		"flags": 0x76, "family": 6, "old_state": uint64(event.CloseWait), "new_state": uint64(event.TimeWait),
		"attribution": uint64(event.Seeded), "role": uint64(event.Server), "reason": uint64(event.ReasonNetns),
	}
	kinds := map[event.Kind]map[string]func(*event.Sample){
		event.KindTransition: transition, event.KindRelease: transition,
		event.KindArmed: mini, event.KindDead: mini, event.KindWhy: mini, event.KindRefused: mini, event.KindMiniSeen: mini,
		event.KindSockSeen: nil, event.KindConnectError: nil,
	}
	for kind := event.KindTransition; kind.Valid(); kind++ {
		own, ok := kinds[kind]
		if !ok {
			t.Errorf("kind %d is not tested", kind)
		}
		var fields []string
		for name := range h.structs["event"].fields {
			fields = append(fields, name)
		}
		for name := range h.structs["owner"].fields {
			fields = append(fields, "owner."+name)
		}
		for _, name := range fields {
			other := transition
			if own["since"] != nil {
				other = mini
			}
			if name == "kind" || name == "pad" || own != nil && own[name] == nil && other[name] != nil {
				continue
			}
			v, ok := special[name]
			if !ok {
				v = 0x77
			}
			r := newRecord(t, h, kind).set(name, v)
			want := event.Sample{KTime: 1, Kind: kind, Family: 4, Old: event.Established, New: event.FinWait2}
			if strings.HasPrefix(name, "owner.") {
				want.Flags = event.FlagOwner
			}
			if set := common[name]; set != nil {
				set(&want)
			} else if set := own[name]; set != nil {
				set(&want)
			}
			// Nothing is left of the record before; what a kind does not have stays zero.
			got := event.Sample{
				Since: 1, Established: 1, BytesSent: 1, BytesReceived: 1, IdleJiffies: 1, Expires: 1, Jiffies: 1, Bucket: 1,
				Successor: 1, EntryStamp: 1, Owner: event.Owner{PID: 1, Comm: event.MakeComm("before")}, Tuple: event.Tuple{LocalPort: 1},
			}
			if err := Decode(r.raw, &got); err != nil {
				t.Errorf("kind %d, %s: %v", kind, name, err)
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("kind %d, %s (-want +got):\n%s", kind, name, diff)
			}
		}
	}
}

func TestDecodeBad(t *testing.T) {
	h := readHeader(t)
	for _, tc := range []struct {
		name string
		raw  []byte
	}{
		{"nothing", nil},
		{"a byte short", newRecord(t, h, event.KindTransition).raw[:sampleSize-1]},
		{"a byte too many", append(newRecord(t, h, event.KindTransition).raw, 0)},
		{"half an owner", append(newRecord(t, h, event.KindTransition).set("flags", uint64(event.FlagOwner)).raw, make([]byte, ownerSize-1)...)},
		{"a flag that promises an owner", newRecord(t, h, event.KindTransition).set("flags", uint64(event.FlagOwner)).raw},
		{"an owner without its flag", newRecord(t, h, event.KindTransition).set("owner.tgid", 1).set("flags", 0).raw},
		{"kind 0", newRecord(t, h, event.KindUnknown).raw},
		{"kind too high", newRecord(t, h, event.KindConnectError+1).raw},
		{"kind 255", newRecord(t, h, 255).raw},
		{"old state 0", newRecord(t, h, event.KindTransition).set("old_state", 0).raw},
		{"new state 0", newRecord(t, h, event.KindTransition).set("new_state", 0).raw},
		{"TCP_NEW_SYN_RECV", newRecord(t, h, event.KindTransition).set("new_state", uint64(event.Closing)+1).raw},
		{"a release from no state", newRecord(t, h, event.KindRelease).set("old_state", 0).raw},
		{"a mini-socket in ESTABLISHED", newRecord(t, h, event.KindArmed).set("new_state", uint64(event.Established)).raw},
		{"a dead mini-socket in CLOSE", newRecord(t, h, event.KindDead).set("new_state", uint64(event.Close)).raw},
		{"a refused mini-socket in no state", newRecord(t, h, event.KindRefused).set("new_state", 0).raw},
		{"an older mini-socket in CLOSING", newRecord(t, h, event.KindMiniSeen).set("new_state", uint64(event.Closing)).raw},
		{"an older socket in no state", newRecord(t, h, event.KindSockSeen).set("new_state", 0).raw},
		{"reason too high", newRecord(t, h, event.KindDead).set("reason", uint64(event.ReasonNetns)+1).raw},
		{"attribution too high", newRecord(t, h, event.KindTransition).set("attribution", uint64(event.Seeded)+1).raw},
		{"role too high", newRecord(t, h, event.KindTransition).set("role", uint64(event.Server)+1).raw},
		{"family 5", newRecord(t, h, event.KindTransition).set("family", 5).raw},
		{"no family", newRecord(t, h, event.KindDead).set("family", 0).raw},
	} {
		var s event.Sample
		if err := Decode(tc.raw, &s); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: error = %v, want ErrBadRecord", tc.name, err)
		}
	}
}

// TestDecodeLenient: evidence is about a segment or a request; it carries what these have.
func TestDecodeLenient(t *testing.T) {
	h := readHeader(t)
	for name, r := range map[string]*record{
		"evidence without a family and a state": newRecord(t, h, event.KindWhy).set("family", 0).set("new_state", 0),
		"connect error without states":          newRecord(t, h, event.KindConnectError).set("old_state", 0).set("new_state", 0),
	} {
		var s event.Sample
		if err := Decode(r.raw, &s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	for kind := event.KindTransition; kind.Valid(); kind++ {
		raw := make([]byte, ownedSampleSize)
		raw[118], raw[119], raw[120], raw[121] = byte(kind), 4, byte(event.FinWait2), byte(event.TimeWait)
		f.Add(raw[:sampleSize])
		raw[108], raw[111] = byte(event.FlagOwner), byte(event.FlagOwner) // whatever the byte order
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s event.Sample
		if err := Decode(raw, &s); err != nil {
			if !errors.Is(err, ErrBadRecord) {
				t.Errorf("error = %v, want ErrBadRecord", err)
			}
			return
		}
		want := sampleSize
		if s.Has(event.FlagOwner) {
			want = ownedSampleSize
		} else if s.Owner != (event.Owner{}) {
			t.Errorf("an owner without its flag: %+v", s.Owner)
		}
		if len(raw) != want {
			t.Errorf("%d bytes decoded, want %d", len(raw), want)
		}
		if !s.Kind.Valid() || !s.Reason.Valid() || s.Attribution.String() == "" || s.Role > event.Server {
			t.Errorf("kind %d, reason %d, attribution %d, role %d", s.Kind, s.Reason, s.Attribution, s.Role)
		}
		switch s.Kind {
		case event.KindTransition, event.KindRelease:
			if !s.Old.Valid() || !s.New.Valid() {
				t.Errorf("states %d, %d", s.Old, s.New)
			}
		case event.KindArmed, event.KindDead, event.KindRefused, event.KindMiniSeen:
			if s.New != event.FinWait2 && s.New != event.TimeWait {
				t.Errorf("a mini-socket in %v", s.New)
			}
		case event.KindSockSeen:
			if !s.New.Valid() {
				t.Errorf("state %d", s.New)
			}
		}
		var again event.Sample
		if err := Decode(raw, &again); err != nil || again != s {
			t.Errorf("decoded again: %v, %+v, was %+v", err, again, s)
		}
	})
}

// TestDecodeAllocatesNothing: not for a good record.
func TestDecodeAllocatesNothing(t *testing.T) {
	raw, s := newRecord(t, readHeader(t), event.KindTransition).set("owner.tgid", 7).raw, event.Sample{}
	if n := testing.AllocsPerRun(1000, func() {
		if err := Decode(raw, &s); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	raw := make([]byte, ownedSampleSize)
	raw[108], raw[118], raw[119], raw[120], raw[121] = byte(event.FlagOwner), byte(event.KindTransition), 4, 1, 4
	var s event.Sample
	if err := Decode(raw, &s); err != nil {
		b.Skipf("only on little-endian machines: %v", err)
	}
	b.SetBytes(ownedSampleSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(raw, &s); err != nil {
			b.Fatal(err)
		}
	}
}
