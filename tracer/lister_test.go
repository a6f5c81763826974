// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// TestDecodeSeen sets every field of the snapshot's wire and looks where it comes out.
func TestDecodeSeen(t *testing.T) {
	h := readHeader(t)
	l := &Lister{tick: 4 * time.Millisecond}
	const ms = int64(time.Millisecond)
	addr := netip.AddrFrom16(sixteen(0x77))
	for name, tc := range map[string]struct {
		value  uint64
		change func(*event.Seen)
	}{
		"ktime":      {0x77, func(s *event.Seen) { s.KTime = 0x77 }},
		"cookie":     {0x77, func(s *event.Seen) { s.Cookie = 0x77 }},
		"sock":       {0x77, func(s *event.Seen) { s.ID = 0x77 }},
		"cgroup":     {0x77, func(s *event.Seen) { s.Cgroup = 0x77 }},
		"expires":    {250, func(s *event.Seen) { s.Remaining = time.Second }},
		"jiffies":    {250, func(s *event.Seen) { s.Remaining = -time.Second }},
		"local":      {0x77, func(s *event.Seen) { s.Local = netip.AddrPortFrom(addr, 0) }},
		"peer":       {0x77, func(s *event.Seen) { s.Peer = netip.AddrPortFrom(addr, 0) }},
		"netns":      {0x77, func(s *event.Seen) { s.NetNS = 0x77 }},
		"entered":    {1, func(s *event.Seen) { s.Entered = -time.Millisecond }},
		"ts_stamp":   {0x77, func(s *event.Seen) { s.Stamped = 0x77 }},
		"sequence":   {0x77, func(s *event.Seen) { s.Sequence = 0x77 }},
		"acked":      {250, func(s *event.Seen) { s.Acked = time.Second }},
		"received":   {250, func(s *event.Seen) { s.Received = time.Second }},
		"unread":     {0x77, func(s *event.Seen) { s.Unread = 0x77 }},
		"flags":      {uint64(event.SeenMini | event.SeenFin), func(s *event.Seen) { s.Flags |= event.SeenFin }},
		"local_port": {0x77, func(s *event.Seen) { s.Local = netip.AddrPortFrom(s.Local.Addr(), 0x77) }},
		"peer_port":  {0x77, func(s *event.Seen) { s.Peer = netip.AddrPortFrom(s.Peer.Addr(), 0x77) }},
		"family":     {6, func(s *event.Seen) { s.Family = 6 }},
		"state":      {6, func(s *event.Seen) { s.State = event.TimeWait }},
	} {
		r := &record{t: t, h: h, raw: make([]byte, seenSize), kind: "seen"}
		var want, got event.Seen
		l.decode(r.set("flags", uint64(event.SeenMini)).raw, &want)
		tc.change(&want)
		l.decode(r.set(name, tc.value).raw, &got)
		if diff := cmp.Diff(got, want, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("%s (-is +want):\n%s", name, diff)
		}
	}
	// The entry is 32 bits of milliseconds, and they wrap.
	r := &record{t: t, h: h, raw: make([]byte, seenSize), kind: "seen"}
	var s event.Seen
	l.decode(r.set("flags", uint64(event.SeenMini)).set("ktime", uint64((1<<32+5)*ms)).set("entered", 1<<32-10).raw, &s)
	if s.Entered != 15*time.Millisecond {
		t.Errorf("entered %v ago, want 15ms", s.Entered)
	}
	// What is stamped in the future has only just been.
	if d := l.jiffies(1<<32 - 3); d != 0 {
		t.Errorf("%v ago, want 0", d)
	}
}
