// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"finwait/tracer/event"
)

// TestSockets: one line for those of one state, holder and service.
func TestSockets(t *testing.T) {
	leaky := &event.Process{PID: 812, Comm: event.MakeComm("leaky\x1b[2J")}
	other := &event.Process{PID: 9, Comm: event.MakeComm("other")}
	see := func(state event.State, role event.Role, local, peer string, flags event.SeenFlags, acked time.Duration, owners ...*event.Process) *event.Seen {
		s := &event.Seen{State: state, Flags: flags, Owners: owners, Acked: acked, Received: acked + time.Second, Unread: 3, Entered: event.Unknown}
		s.NetNS, s.Role, s.Local, s.Peer = 1, role, netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer)
		if flags&event.SeenMini != 0 {
			s.Remaining, s.Unread = 50*time.Second, 0
		}
		return s
	}
	list := []*event.Seen{
		see(event.TimeWait, event.Client, "10.0.0.1:4000", "10.0.0.2:80", event.SeenMini, 0),
		see(event.TimeWait, event.Client, "10.0.0.1:4001", "10.0.0.2:80", event.SeenMini, 0),
		see(event.Established, event.Client, "10.0.0.1:4002", "10.0.0.2:80", 0, 0, leaky),
		see(event.CloseWait, event.Server, "10.0.0.1:8080", "10.0.0.3:1", event.SeenFin, 2*time.Second, leaky),
		see(event.CloseWait, event.Server, "10.0.0.9:8080", "10.0.0.4:1", event.SeenFin, 95*time.Minute, leaky),
		see(event.CloseWait, event.Server, "10.0.0.1:8080", "10.0.0.3:2", event.SeenFin, time.Second, leaky, other),
		see(event.FinWait2, event.Server, "10.0.0.1:8080", "10.0.0.3:3", event.SeenOrphan, time.Second),
		see(event.Established, event.Server, "10.0.0.1:8080", "10.0.0.3:4", 0, time.Second),
	}
	var b bytes.Buffer
	for _, each := range []bool{false, true} {
		if err := NewSockets(&b, Options{Header: true}, each).Write(list); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	list[0].NetNS = 2
	if err := NewSockets(&b, Options{Header: true, Color: true}, false).Write(list); err != nil {
		t.Fatal(err)
	}
	golden(t, "sockets", b.Bytes())
}

// TestBudgets: what is left, and what it rests on.
func TestBudgets(t *testing.T) {
	base := func() event.Budget {
		b := event.Budget{
			NetNS: 1, Local: netip.MustParseAddr("10.0.0.1"), Peer: netip.MustParseAddrPort("10.0.0.2:80"),
			Range: event.PortRange{First: 32768, Last: 60999}, Capacity: 28232, Used: 6, Left: 28226, Reuse: "2",
			Interval: time.Second, Taken: 3, Returned: 25, Level: 185, FailsIn: event.Unknown, NextBack: event.Unknown, LastBack: event.Unknown,
		}
		b.States[event.Established] = 6
		return b
	}
	quiet, full, soon, reused, unknown, once := base(), base(), base(), base(), base(), base()
	full.Left, full.FailsIn, full.Used, full.Bound, full.Reserved, full.Capacity = 0, 0, 28228, 2, 2, 28230
	full.States[event.TimeWait], full.States[event.FinWait1], full.Timestamps = 28000, 222, 27999
	full.NextBack, full.LastBack, full.Orphan, full.Outside = 300*time.Millisecond, 59*time.Second, 222, 1
	for i := range 6 {
		full.Owners = append(full.Owners, event.BudgetOwner{Process: event.Process{PID: uint32(100 + i), Comm: event.MakeComm("nginx\n")}, Connections: 1})
	}
	soon.FailsIn, soon.Shared, soon.Level = 3*time.Hour, 2, 40000
	soon.SharedWith = []event.SharedPeer{{Local: soon.Local, Peer: netip.MustParseAddrPort("10.0.0.3:80"), Ports: 2}, {Local: netip.MustParseAddr("10.0.0.9"), Peer: soon.Peer, Ports: 1}}
	reused.ReuseHere, reused.Reuse, reused.States[event.TimeWait], reused.Reusable, reused.Timestamps = true, "1", 5, 5, 5
	unknown.Capacity, unknown.Left, unknown.Reuse, unknown.States[event.TimeWait], unknown.NetNS = event.Unknown, event.Unknown, "", 1, 2
	once.Interval, once.Reuse, once.States[event.TimeWait], once.NextBack, once.LastBack = 0, "0", 1, time.Second, time.Second
	var b bytes.Buffer
	for _, list := range [][]event.Budget{{quiet, full, soon, reused}, {once, unknown}, nil} {
		if err := NewBudgets(&b, Options{Header: true}).Write(list); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	golden(t, "budgets", b.Bytes())
}
