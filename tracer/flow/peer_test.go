// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// TestPeer: the other end is named when it is certain, and only then. Each case is one
// connection of process 10, seen together with other sockets of this host.
func TestPeer(t *testing.T) {
	near := end{cookie: 1, sock: 0x1000, netns: 1, local: "10.0.0.1:5000", peer: "10.0.0.2:80", role: event.Client}
	far := end{cookie: 2, sock: 0x2000, netns: 1, local: "10.0.0.2:80", peer: "10.0.0.1:5000", role: event.Server}
	on := func(netns uint32) func(*end) { return func(e *end) { e.netns = netns } }
	as := func(cookie uint64) func(*end) { return func(e *end) { e.cookie, e.sock = cookie, cookie<<12 } }
	loop := func(e *end) { e.local, e.peer = "127.0.0.1"+e.local[8:], "127.0.0.1"+e.peer[8:] }
	loop6 := func(e *end) { e.local, e.peer = "[::1]"+e.local[8:], "[::1]"+e.peer[8:] }
	// gotFIN is the other end, owned by the process, when the FIN arrives.
	gotFIN := func(e end, pid uint32) event.Sample {
		return e.step(1000.01, event.Established, event.CloseWait, cached(pid), since(500))
	}
	for _, tc := range []struct {
		name string
		near end
		rest []event.Sample
		want uint32 // the process at the other end
	}{
		{"on another host", near, nil, 0},
		{"same namespace", near, []event.Sample{gotFIN(far, 20)}, 20},
		{"another namespace, the only one with this 4-tuple", near, []event.Sample{gotFIN(far.with(on(2)), 20)}, 20},
		{"two namespaces have the mirrored 4-tuple", near, []event.Sample{gotFIN(far.with(on(2)), 20), gotFIN(far.with(on(3)).with(as(3)), 30)}, 0},
		{
			"two namespaces have the same 4-tuple", near, []event.Sample{
				near.with(on(3)).with(as(3)).step(1000.005, event.Established, event.FinWait1, by(30), flags(closing), since(500)),
				gotFIN(far.with(on(2)), 20),
			}, 0,
		},
		{"not mirrored", near, []event.Sample{gotFIN(far.with(func(e *end) { e.peer = "10.0.0.1:5001" }), 20)}, 0},
		{"loopback", near.with(loop), []event.Sample{gotFIN(far.with(loop), 20)}, 20},
		{"loopback, IPv6", near.with(loop6), []event.Sample{gotFIN(far.with(loop6), 20)}, 20},
		{"loopback of another namespace", near.with(loop), []event.Sample{gotFIN(far.with(loop).with(on(2)), 20)}, 0},
		{
			"loopback of several namespaces", near.with(loop), []event.Sample{
				gotFIN(far.with(loop), 20),
				gotFIN(far.with(loop).with(on(2)).with(as(3)), 30),
			}, 20,
		},
		{"the other end's owner is not known", near, []event.Sample{far.step(1000.01, event.Established, event.CloseWait, since(500))}, 0},
		{"its owner is known by its own close() alone, just after", near, []event.Sample{
			far.step(1000.01, event.Established, event.CloseWait, since(500)),
			far.step(1000.02, event.CloseWait, event.LastAck, by(20), flags(closing), since(1000)),
		}, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got trace
			f := New(&got, Options{Tick: tick})
			samples := append([]event.Sample{closes(tc.near, closing)}, tc.rest...)
			var peer uint32
			got.check = func(tr *event.Transition) {
				if tr.Cookie == tc.near.cookie {
					peer = tr.PeerProcess.PID
				}
			}
			// The first record waits for the window; the other end arrives in time.
			for i := range samples {
				if err := f.Sample(&samples[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
			if peer != tc.want {
				t.Errorf("process at the other end = %d, want %d", peer, tc.want)
			}
		})
	}
}

// TestPeerStays: both ends name each other to the last record, TIME_WAIT included.
func TestPeerStays(t *testing.T) {
	var got trace
	f := New(&got, Options{Tick: tick})
	run(t, f, 0, []event.Sample{
		closes(client, closing),
		server.step(1000.1, event.Established, event.CloseWait, cached(20), since(500)),
		client.step(1000.2, event.FinWait1, event.FinWait2, cached(10), since(1000), flags(event.FlagOrphan)),
		client.armed(1000.3, event.FinWait2, 61000),
		client.step(1000.4, event.FinWait2, event.Close, cached(10), since(1000.2), flags(event.FlagOrphan)),
		server.step(1500, event.CloseWait, event.LastAck, by(20), since(1000.1), flags(closing)),
		client.armed(1500.1, event.TimeWait, 61500, flags(event.FlagRequeued)),
		server.step(1500.2, event.LastAck, event.Close, cached(20), since(1500), flags(event.FlagOrphan)),
		client.dead(61500, event.TimeWait, 61500, reason(event.ReasonExpired)),
	})
	want := []string{
		"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact peer=20 local by close call=close",
		"1000.1 2 ESTABLISHED→CLOSE_WAIT 500.1 pid=20/cached peer=10 peer by fin",
		"1000.2 1 FIN_WAIT1→FIN_WAIT2 0.2 pid=10/cached peer=20 local by close",
		"1500 2 CLOSE_WAIT→LAST_ACK 499.9 pid=20/exact peer=10 peer by fin call=close",
		"1500.1 1 FIN_WAIT2→TIME_WAIT 499.9 pid=10/cached peer=20 local by close",
		"1500.2 2 LAST_ACK→CLOSE 0.2 pid=20/cached peer=10 peer by fin",
		"61500 1 TIME_WAIT→CLOSE 59999.9 pid=10/cached peer=20 local by close [expired 59999.9 late=0]",
	}
	if diff := cmp.Diff(want, got.lines); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{}, leftovers(f)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

// TestNewConnectionDuringTimeWait: the 4-tuple's next user is not taken for the one in TIME_WAIT.
func TestNewConnectionDuringTimeWait(t *testing.T) {
	var got trace
	f := New(&got, Options{Tick: tick})
	next := client.with(func(e *end) { e.cookie, e.sock = 3, 0x3000 })
	run(t, f, 40, inTimeWait(client,
		client.dead(3000, event.TimeWait, 61004, reason(event.ReasonConnect), successor(3), by(10)),
		next.step(4000, event.Established, event.CloseWait, cached(10), since(3000)),
	))
	want := afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [reused_by_connect 1997 successor=3/10]")
	want = append(want, "4000 3 ESTABLISHED→CLOSE_WAIT 1000 pid=10/cached peer by fin")
	if diff := cmp.Diff(want, got.lines); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestIndex(t *testing.T) {
	s := &store{}
	x := newIndex(s, 1)
	tuple := event.Tuple{LocalPort: 1, PeerPort: 2}
	end := func(netns uint32) *conn {
		c := s.take()
		c.tuple, c.netns, c.state = tuple, netns, event.FinWait2
		return c
	}
	a, b, c := end(1), end(2), end(3)
	all := []*conn{a, b, c}
	for _, first := range all {
		for _, second := range all {
			if first == second {
				continue
			}
			for _, e := range all {
				x.add(e)
			}
			left := map[uint32]*conn{1: a, 2: b, 3: c}
			for _, e := range []*conn{first, first, second} { // removing twice is harmless
				x.remove(e)
				delete(left, e.netns)
				for netns := uint32(1); netns <= 3; netns++ {
					if got := x.closing(&tuple, netns); got != left[netns] {
						t.Errorf("closing in namespace %d = %v, want %v", netns, got, left[netns])
					}
				}
			}
			for _, e := range left {
				x.remove(e)
			}
			if x.rings.n != 0 {
				t.Errorf("%d entries left", x.rings.n)
			}
		}
	}
}

func TestWindow(t *testing.T) {
	var w window
	now, popped, pushed := int64(1000), int64(0), int64(0)
	// Samples jitter by less than the window: they must come out sorted, all of them.
	for i := range int64(20000) {
		now += 10
		w.push(&event.Sample{KTime: now - i*7919%100}, nil, 0)
		pushed++
		for s := w.pop(now - 200); s != nil; s = w.pop(now - 200) {
			if s.KTime < popped {
				t.Fatalf("%d after %d", s.KTime, popped)
			}
			popped = s.KTime
			pushed--
		}
	}
	if n := int64(w.len()); pushed != n || n > 40 {
		t.Errorf("%d samples wait, want %d, and no more than 40", n, pushed)
	}
	if len(w.queue.ring) > leastQueue {
		t.Errorf("room for %d samples: the window grows without need", len(w.queue.ring))
	}
}
