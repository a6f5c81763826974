// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

func TestRange(t *testing.T) {
	for _, tc := range []struct {
		ports, reserved    string
		ok                 bool
		capacity, reserves int64
		has, not           []uint16
	}{
		{"32768 60999", "", true, 28232, 0, []uint16{32768, 60999}, []uint16{32767, 61000, 0}},
		{"32768\t60999", "8080,40000-40009,60999", true, 28221, 11, []uint16{39999, 40010, 60998}, []uint16{40000, 40009, 60999, 8080}},
		{"40000 40000", "30000-50000", true, 0, 1, nil, []uint16{40000}},
		{"1 65535", "65535", true, 65534, 1, []uint16{1, 65534}, []uint16{0, 65535}},
		{"40000", "", false, 0, 0, nil, []uint16{40000, 0}},
		{"50000 40000", "", false, 0, 0, nil, []uint16{45000}},
		{"", "1", false, 0, 0, nil, []uint16{1}},
		{"a b", "", false, 0, 0, nil, nil},
	} {
		r, ok := Of(map[string]string{"ip_local_port_range": tc.ports, "ip_local_reserved_ports": tc.reserved})
		if ok != tc.ok || r.Capacity != tc.capacity || r.Reserved != tc.reserves {
			t.Errorf("%q without %q: %v, %d ports, %d reserved", tc.ports, tc.reserved, ok, r.Capacity, r.Reserved)
		}
		for _, p := range tc.has {
			if !r.Has(p) {
				t.Errorf("%q without %q has not %d", tc.ports, tc.reserved, p)
			}
		}
		for _, p := range tc.not {
			if r.Has(p) {
				t.Errorf("%q without %q has %d", tc.ports, tc.reserved, p)
			}
		}
	}
	if _, ok := Of(nil); ok {
		t.Error("a range of nothing")
	}
}

func TestOutlook(t *testing.T) {
	const s = time.Second
	hold := 60 * s
	back := func(at ...time.Duration) []time.Duration { return append([]time.Duration{}, at...) }
	for _, tc := range []struct {
		name  string
		use   Use
		level float64
		in    time.Duration
	}{
		{"nothing happens", Use{Capacity: 100, Back: back(), Hold: hold}, 0, event.Unknown},
		{"a full range", Use{Capacity: 100, Now: 100, Lasting: 100, Back: back(), Hold: hold}, 100, 0},
		{"a range that is not known", Use{Spend: 10, Hold: hold}, 600, event.Unknown},
		{"as many as one minute of them fill", Use{Capacity: 600, Spend: 10, Back: back(), Hold: hold}, 600, 60 * s},
		{"one fewer", Use{Capacity: 601, Spend: 10, Back: back(), Hold: hold}, 600, event.Unknown},
		{"twice as many", Use{Capacity: 300, Spend: 10, Back: back(), Hold: hold}, 600, 30 * s},
		{"some in use for good", Use{Capacity: 300, Now: 100, Lasting: 100, Spend: 10, Back: back(), Hold: hold}, 700, 20 * s},
		{"some in use that come back first", Use{Capacity: 300, Now: 100, Spend: 4, Back: back(repeat(100, s)...), Hold: hold}, 240, event.Unknown},
		{"some in use that come back too late", Use{Capacity: 300, Now: 100, Spend: 4, Back: back(repeat(100, 59*s)...), Hold: hold}, 240, 50 * s},
		{"some that come back just in time", Use{Capacity: 300, Now: 100, Spend: 4, Back: back(repeat(100, 49*s)...), Hold: hold}, 240, event.Unknown},
		{"a leak", Use{Capacity: 1000, Growth: 1, Back: back(), Hold: hold}, 0, 1000 * s},
		{"a leak beside what comes back", Use{Capacity: 1000, Growth: 1, Spend: 10, Back: back(), Hold: hold}, 600, 400 * s},
		{"unknown when they come back: the level decides", Use{Capacity: 300, Now: 299, Spend: 4, Hold: hold}, 240, event.Unknown},
		{"unknown, and too many", Use{Capacity: 300, Now: 100, Spend: 20, Hold: hold}, 1200, 10 * s},
		{"unknown, without a rate", Use{Capacity: 300, Now: 300, Hold: hold}, 0, event.Unknown},
	} {
		if o := tc.use.Outlook(); o.Level != tc.level || o.In != tc.in {
			t.Errorf("%s: levels off at %v, full in %v; want %v, %v", tc.name, o.Level, o.In, tc.level, tc.in)
		}
	}
}

func repeat(n int, d time.Duration) (list []time.Duration) {
	for range n {
		list = append(list, d)
	}
	return list
}

// host is a look that a test makes by hand.
type host struct{ event.Look }

const inode = 7

func newHost(settings ...string) *host {
	h := &host{}
	ns := event.SeenNamespace{Namespace: event.Namespace{Inode: inode, Settings: map[string]string{"ip_local_port_range": "40000 40009", "tcp_tw_reuse": "0"}}}
	for i := 0; i < len(settings); i += 2 {
		ns.Settings[settings[i]] = settings[i+1]
	}
	h.Namespaces = []event.SeenNamespace{ns}
	return h
}

func (h *host) see(state event.State, local, peer string, flags event.SeenFlags, change ...func(*event.Seen)) *host {
	s := event.Seen{State: state, Flags: flags, Entered: event.Unknown}
	s.NetNS, s.Family, s.Cookie = inode, 4, uint64(len(h.Sockets)+1)
	s.Local, s.Peer = netip.MustParseAddrPort(local), netip.MustParseAddrPort(peer)
	for _, f := range change {
		f(&s)
	}
	h.Sockets = append(h.Sockets, s)
	return h
}

const here, there, nobody = "10.0.0.1:", "10.0.0.2:80", "0.0.0.0:0"

// left is what a test compares of a budget.
type left struct {
	Used, Bound, Left, Reusable, Outside, Taken, Returned int64
	States                                                map[string]int64
}

func of(b *event.Budget) left {
	l := left{b.Used, b.Bound, b.Left, b.Reusable, b.Outside, b.Taken, b.Returned, map[string]int64{}}
	for s, n := range b.States {
		if n > 0 {
			l.States[event.State(s).String()] = n
		}
	}
	return l
}

func TestBudgets(t *testing.T) {
	mini := event.SeenMini
	stamped := mini | event.SeenTimestamps
	old := func(s *event.Seen) { s.Entered, s.Remaining = 2*time.Second, 58*time.Second }
	young := func(s *event.Seen) { s.Entered, s.Remaining = time.Second/2, 59*time.Second }
	states := func(pairs ...any) map[string]int64 {
		m := map[string]int64{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = int64(pairs[i+1].(int))
		}
		return m
	}
	for _, tc := range []struct {
		name string
		host *host
		want []left
	}{
		{"by state", newHost().see(event.Established, here+"40000", there, 0).see(event.TimeWait, here+"40001", there, mini).
			see(event.FinWait2, here+"40002", there, mini).see(event.FinWait2, here+"40003", there, 0).see(event.SynSent, here+"40004", there, 0),
			[]left{{Used: 5, Left: 5, States: states("ESTABLISHED", 1, "TIME_WAIT", 1, "FIN_WAIT2", 2, "SYN_SENT", 1)}}},
		{"a port that the range does not have", newHost().see(event.Established, here+"1024", there, 0),
			[]left{{Left: 10, Outside: 1, States: states()}}},
		{"reserved", newHost("ip_local_reserved_ports", "40000,40009").see(event.Established, here+"40001", there, 0),
			[]left{{Used: 1, Left: 7, States: states("ESTABLISHED", 1)}}},
		{"a server inside the range", newHost().see(event.Listen, here+"40000", nobody, event.SeenBound|event.SeenBacklog).
			see(event.Established, here+"40000", "10.0.0.2:5000", event.SeenBound).see(event.TimeWait, here+"40000", "10.0.0.2:5001", mini|event.SeenBound).
			see(event.Established, here+"40001", there, 0),
			[]left{{Used: 1, Bound: 1, Left: 8, States: states("ESTABLISHED", 1)}}},
		{"a server that has gone", newHost().see(event.Established, here+"40000", "10.0.0.2:5000", event.SeenBound|event.SeenBacklog).
			see(event.TimeWait, here+"40000", "10.0.0.2:5001", mini|event.SeenBound),
			nil},
		{"a server on another address", newHost().see(event.Listen, "10.0.0.9:40000", nobody, event.SeenBound|event.SeenBacklog).
			see(event.Established, here+"40000", there, event.SeenBound),
			[]left{{Used: 1, Left: 9, States: states("ESTABLISHED", 1)}}},
		{"a server on every address, IPv6", newHost().see(event.Listen, "[::]:40000", "[::]:0", event.SeenBound|event.SeenBacklog).
			see(event.Established, here+"40000", "10.0.0.2:5000", event.SeenBound), nil},
		{"bind() before connect()", newHost().see(event.Established, here+"40000", there, event.SeenBound).
			see(event.TimeWait, here+"40001", there, mini|event.SeenBound).see(event.Close, here+"40002", nobody, event.SeenBound),
			[]left{{Used: 2, Bound: 1, Left: 7, States: states("ESTABLISHED", 1, "TIME_WAIT", 1)}}},
		{"reuse is off", newHost().see(event.TimeWait, here+"40000", there, stamped, old), []left{{Used: 1, Left: 9, States: states("TIME_WAIT", 1)}}},
		{"reuse, after a second, with timestamps", newHost("tcp_tw_reuse", "1").see(event.TimeWait, here+"40000", there, stamped, old).
			see(event.TimeWait, here+"40001", there, stamped, young).see(event.TimeWait, here+"40002", there, mini, old).
			see(event.FinWait2, here+"40003", there, stamped, old).see(event.TimeWait, here+"40004", there, stamped|event.SeenBound, old),
			[]left{{Used: 5, Left: 6, Reusable: 1, States: states("TIME_WAIT", 4, "FIN_WAIT2", 1)}}},
		{"reuse with another delay", newHost("tcp_tw_reuse", "1", "tcp_tw_reuse_delay", "100").see(event.TimeWait, here+"40000", there, stamped, young),
			[]left{{Used: 1, Left: 10, Reusable: 1, States: states("TIME_WAIT", 1)}}},
		{"reuse on older kernels", newHost("tcp_tw_reuse", "1").see(event.TimeWait, here+"40000", there, stamped, func(s *event.Seen) { s.KTime, s.Stamped = 12e9, 10 }).
			see(event.TimeWait, here+"40001", there, stamped, func(s *event.Seen) { s.KTime, s.Stamped, s.Remaining = 12e9, 12, 60*time.Second }),
			[]left{{Used: 2, Left: 9, Reusable: 1, States: states("TIME_WAIT", 2)}}},
		{"reuse for loopback is not for others", newHost("tcp_tw_reuse", "2").see(event.TimeWait, here+"40000", there, stamped, old).
			see(event.TimeWait, "127.0.0.1:40000", "127.0.0.1:80", stamped, old),
			[]left{{Used: 1, Left: 9, States: states("TIME_WAIT", 1)}, {Used: 1, Left: 10, Reusable: 1, States: states("TIME_WAIT", 1)}}},
		{"a range that is not known", newHost("ip_local_port_range", "").see(event.Established, here+"40000", there, 0),
			[]left{{Used: event.Unknown, Bound: event.Unknown, Left: event.Unknown, States: states("ESTABLISHED", 1)}}},
		{"a namespace that was not looked at", func() *host {
			h := newHost().see(event.Established, here+"40000", there, 0)
			h.Sockets[0].NetNS++
			return h
		}(), nil},
	} {
		list, _ := Budgets(nil, &tc.host.Look)
		var got []left
		for i := range list {
			got = append(got, of(&list[i]))
		}
		if diff := cmp.Diff(got, tc.want); diff != "" {
			t.Errorf("%s (-is +want):\n%s", tc.name, diff)
		}
	}
}

// TestBudgetShared: a port that goes to one peer goes to another one too.
func TestBudgetShared(t *testing.T) {
	h := newHost().see(event.Established, here+"40000", there, 0).see(event.Established, here+"40001", there, 0).
		see(event.Established, here+"40000", "10.0.0.3:80", 0).see(event.Established, "10.0.0.9:40000", there, 0)
	list, _ := Budgets(nil, &h.Look)
	if len(list) != 3 || list[0].Shared != 1 || list[1].Shared != 1 || list[2].Shared != 1 || list[0].Left != 8 || list[1].Left != 9 {
		t.Fatalf("%+v", list)
	}
	want := []event.SharedPeer{
		{Local: netip.MustParseAddr("10.0.0.1"), Peer: netip.MustParseAddrPort("10.0.0.3:80"), Ports: 1},
		{Local: netip.MustParseAddr("10.0.0.9"), Peer: netip.MustParseAddrPort(there), Ports: 1},
	}
	same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(list[0].SharedWith, want, same, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("(-is +want):\n%s", diff)
	}
}

// TestBudgetCrowded: where a port goes to very many peers, none of them is named.
func TestBudgetCrowded(t *testing.T) {
	h := newHost()
	for i := range crowded + 1 {
		h.see(event.Established, here+"40000", fmt.Sprintf("10.0.1.%d:80", i), 0)
	}
	list, _ := Budgets(nil, &h.Look)
	for _, b := range list {
		if b.Shared != 1 || len(b.SharedWith) != 0 {
			t.Fatalf("%d shared, with %v", b.Shared, b.SharedWith)
		}
	}
	if len(list) != crowded+1 {
		t.Errorf("%d budgets", len(list))
	}
}

// TestBudgetOwners: whoever holds a descriptor; a TIME_WAIT has nobody.
func TestBudgetOwners(t *testing.T) {
	a, b := &event.Process{PID: 1}, &event.Process{PID: 2}
	own := func(p ...*event.Process) func(*event.Seen) { return func(s *event.Seen) { s.Owners = p } }
	h := newHost().see(event.Established, here+"40000", there, 0, own(b)).see(event.CloseWait, here+"40001", there, 0, own(a, b)).
		see(event.FinWait1, here+"40002", there, event.SeenOrphan).see(event.TimeWait, here+"40003", there, event.SeenMini)
	list, _ := Budgets(nil, &h.Look)
	got := list[0].Owners
	if len(got) != 2 || got[0].PID != 2 || got[0].Connections != 2 || got[1].PID != 1 || got[1].Connections != 1 || list[0].Orphan != 1 {
		t.Errorf("%+v, %d held by nobody", got, list[0].Orphan)
	}
}

// TestBudgetRates: what came and what went between two looks.
func TestBudgetRates(t *testing.T) {
	before := newHost().see(event.Established, here+"40000", there, 0).see(event.Established, here+"40001", there, 0).
		see(event.TimeWait, here+"40002", there, event.SeenMini).see(event.TimeWait, here+"40003", there, event.SeenMini)
	before.Namespaces[0].ActiveOpens = 100
	anonymous := func(next uint32) func(*event.Seen) {
		return func(s *event.Seen) { s.Cookie, s.Sequence = 0, next }
	}
	before.see(event.TimeWait, here+"40004", there, event.SeenMini, anonymous(1)).see(event.TimeWait, here+"40005", there, event.SeenMini, anonymous(2))
	now := newHost()
	now.KTime, now.Namespaces[0].ActiveOpens = int64(2*time.Second), 105
	now.Sockets = append(now.Sockets, before.Sockets...)
	now.Sockets[1].State, now.Sockets[1].Flags = event.TimeWait, event.SeenMini // the same connection, in another state
	now.Sockets[2].Cookie = 50                                                  // another one with the same 4-tuple
	now.Sockets[4].Sequence = 3                                                 // and another, without a cookie
	now.Sockets = append(now.Sockets[:3], now.Sockets[4:]...)                   // one is gone
	now.see(event.SynSent, here+"40006", there, 0, func(s *event.Seen) { s.Cookie = 51 })
	list, opens := Budgets(&before.Look, &now.Look)
	b := list[0]
	if b.Taken != 3 || b.Returned != 3 || b.Interval != 2*time.Second || b.Left != 4 {
		t.Errorf("%d came and %d went in %v, %d left", b.Taken, b.Returned, b.Interval, b.Left)
	}
	want := []event.Opens{{NetNS: inode, Counted: 5, Found: 3}}
	if diff := cmp.Diff(opens, want); diff != "" {
		t.Errorf("(-is +want):\n%s", diff)
	}
}
