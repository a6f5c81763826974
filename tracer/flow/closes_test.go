// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"finwait/tracer/event"
)

// states is the time spent in each state, the unknown ones left out.
func states(c *event.CloseRecord) map[string]string {
	m := map[string]string{}
	for s, d := range c.States {
		if d != event.Unknown {
			m[event.State(s).String()] = length(d)
		}
	}
	return m
}

func TestCloses(t *testing.T) {
	type summary struct {
		At      string
		PID     uint32
		Known   event.Attribution
		Closer  event.Closer
		Method  event.Method
		Role    event.Role
		States  map[string]string
		End     event.EndReason
		Orphan  event.EndReason
		Errno   uint16
		Sent    int64
		Unread  int64
		Idle    time.Duration
		Existed bool
		Lost    bool
	}
	for _, tc := range []struct {
		name    string
		samples []event.Sample
		flush   ms
		want    []summary
	}{
		{
			name: "with TIME_WAIT",
			samples: []event.Sample{
				closes(client, closing, idle(40), bytes(100, 7)), acked(client),
				client.armed(1001.1, event.FinWait2, 61004), replaced(client, 1001.2, event.FinWait2),
				client.armed(1003, event.TimeWait, 61004, flags(event.FlagRequeued)),
				client.dead(62000, event.TimeWait, 61004, reason(event.ReasonExpired)),
			},
			want: []summary{{
				At: "62000", PID: 10, Known: event.Exact, Closer: event.CloserLocal, Method: event.MethodClose, Role: event.Client,
				States: map[string]string{"ESTABLISHED": "500", "FIN_WAIT1": "1", "FIN_WAIT2": "2", "TIME_WAIT": "60997"},
				End:    event.EndExpired, Sent: 100, Idle: 40 * time.Millisecond,
			}},
		}, {
			name: "TIME_WAIT outlives the trace",
			samples: inTimeWait(client,
				client.with(func(e *end) { e.cookie, e.sock, e.local = 3, 0x3000, "10.0.0.1:5003" }).step(1500, event.Established, event.FinWait1, by(11), flags(closing), since(1))),
			flush: 9003,
			want: []summary{{
				At: "1003", PID: 10, Known: event.Exact, Closer: event.CloserLocal, Method: event.MethodClose, Role: event.Client,
				States: map[string]string{"ESTABLISHED": "500", "FIN_WAIT1": "1", "FIN_WAIT2": "2"}, End: event.EndOpen,
			}},
		}, {
			name: "an orphan's FIN_WAIT2",
			samples: []event.Sample{
				closes(client, closing), acked(client),
				client.armed(1001.1, event.FinWait2, 61004), replaced(client, 1001.2, event.FinWait2),
				client.dead(61500, event.FinWait2, 61004, reason(event.ReasonExpired)),
			},
			want: []summary{{
				At: "61500", PID: 10, Known: event.Exact, Closer: event.CloserLocal, Method: event.MethodClose, Role: event.Client,
				States: map[string]string{"ESTABLISHED": "500", "FIN_WAIT1": "1", "FIN_WAIT2": "60499"}, Orphan: event.EndExpired,
			}},
		}, {
			name: "RST, the owner known: over at once",
			samples: []event.Sample{
				server.step(1000, event.Established, event.Close, cached(20), errno(104), since(500), bytes(3, 4)),
			},
			want: []summary{{
				At: "1000", PID: 20, Known: event.Cached, Closer: event.CloserPeer, Method: event.MethodRst, Role: event.Server,
				States: map[string]string{"ESTABLISHED": "500"}, Errno: 104, Sent: 3,
			}},
		}, {
			name: "RST, the owner not known: its close() tells",
			samples: []event.Sample{
				server.step(1000, event.Established, event.Close, errno(104), since(500)),
				server.sample(3000, event.KindRelease, []mod{by(21), since(1000), flags(event.FlagCall)}),
			},
			want: []summary{{
				At: "1000", PID: 21, Known: event.Exact, Closer: event.CloserPeer, Method: event.MethodRst, Role: event.Server,
				States: map[string]string{"ESTABLISHED": "500"}, Errno: 104,
			}},
		}, {
			name: "RST, and the owner never closes",
			samples: []event.Sample{
				server.step(1000, event.Established, event.Close, errno(104), since(500)),
			},
			flush: 9000,
			want: []summary{{
				At: "1000", Closer: event.CloserPeer, Method: event.MethodRst, Role: event.Server,
				States: map[string]string{"ESTABLISHED": "500"}, Errno: 104,
			}},
		}, {
			name: "never a connection",
			samples: []event.Sample{
				client.step(1000, event.SynSent, event.Close, cached(10), errno(111), since(999)),
			},
			flush: 9000,
		}, {
			name: "closed in SYN_RECV (TCP Fast Open), then reset",
			samples: []event.Sample{
				server.step(1000, event.SynRecv, event.FinWait1, by(20), flags(closing), since(990)),
				server.step(1001, event.FinWait1, event.Close, cached(20), errno(104), since(1000), flags(event.FlagOrphan)),
			},
			want: []summary{{
				At: "1001", PID: 20, Known: event.Exact, Closer: event.CloserLocal, Method: event.MethodClose, Role: event.Server,
				States: map[string]string{"SYN_RECV": "10", "FIN_WAIT1": "1"}, Errno: 104,
			}},
		}, {
			name: "unread data; older than the trace; a lost step",
			samples: []event.Sample{
				server.sample(100, event.KindSockSeen, []mod{in(event.Established)}),
				server.step(1000, event.Established, event.CloseWait, cached(20)),
				server.step(2000, event.LastAck, event.Close, cached(20), since(1500), flags(event.FlagOrphan)),
			},
			want: []summary{{
				At: "2000", PID: 20, Known: event.Cached, Closer: event.CloserPeer, Method: event.MethodFin, Role: event.Server,
				States: map[string]string{"LAST_ACK": "500"}, Existed: true, Lost: true,
			}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []summary
			cl := NewCloses(0, func(c *event.CloseRecord) error {
				s := summary{
					At: at(c.KTime), PID: c.Process.PID, Known: c.Attribution, Closer: c.Closer, Method: c.Method, Role: c.Role,
					States: states(c), Orphan: c.Orphan, Errno: c.Errno, Sent: c.BytesSent, Unread: c.Unread, Idle: c.Idle,
					Existed: c.Existed, Lost: c.Incomplete,
				}
				if c.TimeWait != nil {
					s.End = c.TimeWait.End
				}
				got = append(got, s)
				return nil
			})
			f := New(&trace{close: cl}, Options{Tick: tick})
			run(t, f, 40, tc.samples)
			if tc.flush != 0 {
				if len(got) != 0 {
					t.Errorf("%+v before the end", got)
				}
				if err := cl.Flush(ktime(tc.flush)); err != nil {
					t.Fatal(err)
				}
			}
			ignore := cmpopts.IgnoreFields(summary{}, "Unread") // TestClosesKeepsTheMost
			if diff := cmp.Diff(tc.want, got, ignore); diff != "" {
				t.Errorf("close records (-want +got):\n%s", diff)
			}
			if tc.flush == 0 && len(cl.open) != 0 {
				t.Errorf("%d connections are still remembered", len(cl.open))
			}
		})
	}
}

func closing1(cookie uint64, old, state event.State, change func(*event.Transition)) *event.Transition {
	t := &event.Transition{
		KTime: 1, Old: old, New: state, Duration: event.Unknown, Idle: event.Unknown, Unread: event.Unknown,
		BytesSent: event.Unknown, BytesReceived: event.Unknown, Timestamps: event.Unknown,
		Socket: event.Socket{Cookie: cookie, NetNS: 1, Family: 4, Local: netip.MustParseAddrPort("10.0.0.1:1"), Peer: netip.MustParseAddrPort("10.0.0.2:2")},
	}
	if change != nil {
		change(t)
	}
	return t
}

// TestClosesKeepsTheMost: what one step knows is not overwritten by what a later one does not.
func TestClosesKeepsTheMost(t *testing.T) {
	var got event.CloseRecord
	cl := NewCloses(0, func(c *event.CloseRecord) error { got = *c; return nil })
	for _, tr := range []*event.Transition{
		closing1(1, event.Established, event.FinWait1, func(t *event.Transition) {
			t.Role, t.Process.PID, t.Attribution = event.Client, 10, event.Exact
			t.PeerProcess.PID = 20
			t.Idle, t.Unread, t.BytesSent, t.BytesReceived, t.Timestamps = 5, 6, 7, 8, 1
			t.Closer, t.Method = event.CloserLocal, event.MethodShutdown
		}),
		closing1(1, event.FinWait1, event.FinWait2, func(t *event.Transition) { t.Process.PID, t.Attribution = 11, event.Cached }),
		closing1(1, event.FinWait2, event.TimeWait, nil),
		closing1(1, event.TimeWait, event.Close, func(t *event.Transition) {
			t.TimeWait = &event.TimeWaitInfo{End: event.EndReset}
		}),
	} {
		if err := cl.Transition(tr); err != nil {
			t.Fatal(err)
		}
	}
	want := event.CloseRecord{
		KTime: 1, Socket: closing1(1, 0, 0, nil).Socket, Attribution: event.Exact, Closer: event.CloserLocal, Method: event.MethodShutdown,
		Process: event.Process{PID: 10}, PeerProcess: event.Process{PID: 20}, TimeWait: &event.TimeWaitInfo{End: event.EndReset},
		Idle: 5, Unread: 6, BytesSent: 7, BytesReceived: 8, Timestamps: 1,
	}
	want.Role = event.Client
	for i := range want.States {
		want.States[i] = event.Unknown
	}
	address := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, got, address); diff != "" {
		t.Errorf("close record (-want +got):\n%s", diff)
	}
}

// TestClosesWithoutCookie: the 4-tuple and the namespace stand in.
func TestClosesWithoutCookie(t *testing.T) {
	var got []string
	cl := NewCloses(0, func(c *event.CloseRecord) error {
		got = append(got, fmt.Sprint(c.NetNS, c.Local.Port(), c.States[event.Established], c.States[event.LastAck]))
		return nil
	})
	port := func(p uint16, netns uint32, d time.Duration) func(*event.Transition) {
		return func(t *event.Transition) {
			t.Local, t.NetNS, t.Duration = netip.AddrPortFrom(t.Local.Addr(), p), netns, d
		}
	}
	for _, tr := range []*event.Transition{
		closing1(0, event.Established, event.CloseWait, port(1, 1, 10)),
		closing1(0, event.Established, event.CloseWait, port(2, 1, 20)),
		closing1(0, event.Established, event.CloseWait, port(1, 2, 30)),
		closing1(0, event.LastAck, event.Close, port(1, 1, 1)),
		closing1(0, event.LastAck, event.Close, port(1, 2, 2)),
		closing1(0, event.LastAck, event.Close, port(2, 1, 3)),
	} {
		if err := cl.Transition(tr); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"1 1 10ns 1ns", "2 1 30ns 2ns", "1 2 20ns 3ns"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("close records (-want +got):\n%s", diff)
	}
}

func TestClosesBounded(t *testing.T) {
	cl := NewCloses(3, func(*event.CloseRecord) error { return nil })
	for i := range uint64(10) {
		if err := cl.Transition(closing1(i+1, event.Established, event.CloseWait, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if len(cl.open) != 3 || cl.Evicted != 7 {
		t.Errorf("%d followed, %d evicted; want 3, 7", len(cl.open), cl.Evicted)
	}
}

func TestClosesError(t *testing.T) {
	stop := errors.New("stop")
	cl := NewCloses(0, func(*event.CloseRecord) error { return stop })
	if err := cl.Transition(closing1(1, event.LastAck, event.Close, nil)); !errors.Is(err, stop) {
		t.Errorf("Transition = %v, want the sink's error", err)
	}
	if err := cl.Transition(closing1(2, event.FinWait2, event.TimeWait, nil)); err != nil {
		t.Errorf("Transition = %v before anything is over", err)
	}
	if err := cl.Flush(1); !errors.Is(err, stop) {
		t.Errorf("Flush = %v, want the sink's error", err)
	}
	if err := cl.Release(&event.Release{Socket: event.Socket{Cookie: 99}}); err != nil {
		t.Errorf("Release of a stranger = %v", err)
	}
}
