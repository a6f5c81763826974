// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"finwait/tracer/event"
)

// key is what a range is spent on: connect() needs a port that is free towards this peer.
type key struct {
	netns uint32
	local netip.Addr
	peer  netip.AddrPort
}

// identity tells connections apart from one look to the next. The cookie alone does, and
// a mini-socket has its socket's; where there is none, the next sequence number does.
type identity struct {
	cookie      uint64
	local, peer netip.AddrPort
	netns, next uint32
}

func identify(s *event.Seen) identity {
	if s.Cookie != 0 {
		return identity{cookie: s.Cookie}
	}
	return identity{local: s.Local, peer: s.Peer, netns: s.NetNS, next: s.Sequence}
}

// budget is one under construction.
type budget struct {
	event.Budget
	key
	ports  map[uint16]bool // of the range, in use by its connections
	back   []time.Duration
	owners map[*event.Process]int64
	grown  int64 // open connections that came, less those that went
}

// space is a network namespace's range.
type space struct {
	settings map[string]string
	ports    Range
	known    bool
	bound    map[uint16]bool // of the range
}

// Budgets makes a budget of every peer that connections of this host go to. before is an
// earlier look, for the rates; nil if there is none. Those with the fewest ports left
// come first.
func Budgets(before, now *event.Look) ([]event.Budget, []event.Opens) {
	spaces := map[uint32]*space{}
	for _, ns := range now.Namespaces {
		s := &space{settings: ns.Settings, bound: map[uint16]bool{}}
		s.ports, s.known = Of(ns.Settings)
		spaces[ns.Inode] = s
	}
	budgets := gather(now, spaces)
	var opens []event.Opens
	if before != nil {
		opens = compare(before, now, budgets, spaces)
	}
	shared := sharing(budgets)
	list := make([]event.Budget, 0, len(budgets))
	for _, b := range budgets {
		b.finish(spaces[b.key.netns])
		b.share(shared)
		list = append(list, b.Budget)
	}
	slices.SortFunc(list, func(a, b event.Budget) int {
		return cmp.Or(cmp.Compare(a.Left, b.Left), cmp.Compare(b.Connections(), a.Connections()), a.Local.Compare(b.Local),
			a.Peer.Compare(b.Peer), cmp.Compare(a.NetNS, b.NetNS))
	})
	return list, opens
}

func keyOf(s *event.Seen) key { return key{s.NetNS, s.Local.Addr(), s.Peer} }

// gather sorts the connections into budgets.
func gather(look *event.Look, spaces map[uint32]*space) map[key]*budget {
	Roles(look)
	budgets := map[key]*budget{}
	var doubtful []*event.Seen
	for i := range look.Sockets {
		s := &look.Sockets[i]
		ns := spaces[s.NetNS]
		if ns == nil {
			continue
		}
		if s.Has(event.SeenBound) && ns.ports.Has(s.Local.Port()) {
			ns.bound[s.Local.Port()] = true
		}
		switch {
		case s.Role == event.Client:
			k := keyOf(s)
			b := budgets[k]
			if b == nil {
				b = &budget{key: k, ports: map[uint16]bool{}, owners: map[*event.Process]int64{}}
				b.Budget = event.Budget{KTime: look.KTime, NetNS: k.netns, Family: s.Family, Local: k.local, Peer: k.peer}
				budgets[k] = b
			}
			b.add(s, ns)
		case s.Role == event.RoleUnknown && s.Has(event.SeenMini):
			doubtful = append(doubtful, s)
		}
	}
	// Where others go to the same peer, they most likely went there too: a server does not
	// have a client's port among its own connections to it.
	for _, s := range doubtful {
		if b := budgets[keyOf(s)]; b != nil {
			b.add(s, spaces[s.NetNS])
		}
	}
	return budgets
}

// add takes a connection of the budget.
func (b *budget) add(s *event.Seen, ns *space) {
	if !s.State.Valid() {
		return
	}
	if ns.known && !ns.ports.Has(s.Local.Port()) {
		b.Outside++
		return
	}
	b.States[s.State]++
	mini := s.Has(event.SeenMini)
	for _, p := range s.Owners {
		b.owners[p]++
	}
	if !mini && len(s.Owners) == 0 {
		b.Orphan++
	}
	if !ns.known {
		return
	}
	b.ports[s.Local.Port()] = true
	if !mini {
		return
	}
	if s.State == event.TimeWait && s.Has(event.SeenTimestamps) {
		b.Timestamps++
	}
	wait := max(s.Remaining, 0)
	if reuse, after := ns.reuse(b.key); reuse && s.State == event.TimeWait && s.Has(event.SeenTimestamps) && !s.Has(event.SeenBound) {
		if wait = min(wait, after-age(s)); wait <= 0 {
			b.Reusable++
			return
		}
	}
	b.back = append(b.back, wait)
}

// age is the time since the moment that tcp_twsk_unique() counts from: the entry, or, before
// Linux 6.14, the last segment with a timestamp, in whole seconds.
func age(s *event.Seen) time.Duration {
	if s.Entered != event.Unknown {
		return s.Entered
	}
	return time.Duration(s.KTime/int64(time.Second)-s.Stamped) * time.Second
}

// ReuseDelay is how long a port has been in TIME_WAIT before connect() may take it over:
// tcp_tw_reuse_delay, and a second on kernels without that.
func ReuseDelay(settings map[string]string) time.Duration {
	if ms, err := strconv.ParseUint(settings["tcp_tw_reuse_delay"], 10, 32); err == nil {
		return time.Duration(ms) * time.Millisecond
	}
	return time.Second
}

// reuse reports whether tcp_tw_reuse lets connect() take a TIME_WAIT between these ends
// over, if it has timestamps, and after which time.
func (ns *space) reuse(k key) (applies bool, after time.Duration) {
	after = ReuseDelay(ns.settings)
	switch ns.settings["tcp_tw_reuse"] {
	case "1":
		return true, after
	case "2":
		return k.local.IsLoopback() || k.peer.Addr().IsLoopback(), after
	}
	return false, after
}

// compare counts what came and what went between two looks.
func compare(before, now *event.Look, budgets map[key]*budget, spaces map[uint32]*space) (opens []event.Opens) {
	Roles(before)
	there := map[identity]bool{}
	for i := range before.Sockets {
		s := &before.Sockets[i]
		if s.Role == event.Client {
			there[identify(s)] = true
		}
	}
	found := map[uint32]int64{}
	here := map[identity]bool{}
	for i := range now.Sockets {
		s := &now.Sockets[i]
		if s.Role != event.Client {
			continue
		}
		id := identify(s)
		here[id] = true
		b := budgets[keyOf(s)]
		if b == nil || !spaces[s.NetNS].ports.Has(s.Local.Port()) {
			continue
		}
		if !s.Has(event.SeenMini) {
			b.grown++
		}
		if !there[id] {
			b.Taken++
			found[s.NetNS]++
		}
	}
	for i := range before.Sockets {
		s := &before.Sockets[i]
		b := budgets[keyOf(s)]
		if s.Role != event.Client || b == nil || !spaces[s.NetNS].ports.Has(s.Local.Port()) {
			continue
		}
		if !s.Has(event.SeenMini) {
			b.grown--
		}
		if !here[identify(s)] {
			b.Returned++
		}
	}
	for _, b := range budgets {
		b.Interval = time.Duration(now.KTime - before.KTime)
	}
	counted := map[uint32]int64{}
	for _, ns := range before.Namespaces {
		counted[ns.Inode] = ns.ActiveOpens
	}
	for _, ns := range now.Namespaces {
		if was, ok := counted[ns.Inode]; ok && was >= 0 && ns.ActiveOpens >= was {
			opens = append(opens, event.Opens{NetNS: ns.Inode, Counted: ns.ActiveOpens - was, Found: found[ns.Inode]})
		}
	}
	return opens
}

// finish works out what is left and where it is heading.
func (b *budget) finish(ns *space) {
	reuse, after := ns.reuse(b.key)
	b.Reuse, b.ReuseHere = ns.settings["tcp_tw_reuse"], reuse
	b.Capacity, b.Used, b.Bound, b.Left = event.Unknown, event.Unknown, event.Unknown, event.Unknown
	b.NextBack, b.LastBack, b.FailsIn = event.Unknown, event.Unknown, event.Unknown
	for p, n := range b.owners {
		b.Owners = append(b.Owners, event.BudgetOwner{Process: *p, Connections: n})
	}
	slices.SortFunc(b.Owners, func(x, y event.BudgetOwner) int {
		return cmp.Or(cmp.Compare(y.Connections, x.Connections), cmp.Compare(x.PID, y.PID))
	})
	slices.Sort(b.back)
	if len(b.back) > 0 {
		b.NextBack, b.LastBack = b.back[0], b.back[len(b.back)-1]
	}
	if !ns.known {
		return
	}
	b.Range, b.Reserved, b.Capacity = ns.ports.PortRange, ns.ports.Reserved, ns.ports.Capacity
	b.Used = int64(len(b.ports))
	b.Bound = 0
	for p := range ns.bound {
		if !b.ports[p] {
			b.Bound++
		}
	}
	free := b.Capacity - b.Used - b.Bound
	b.Left = free + b.Reusable
	if b.Interval <= 0 {
		return
	}
	seconds := b.Interval.Seconds()
	// What stays open does not come back by itself. Of what comes and goes, as many more
	// or fewer may be open now by chance.
	growth := float64(max(b.grown, 0))
	if growth*growth <= float64(b.Taken+b.Returned) {
		growth = 0
	}
	use := Use{
		Capacity: b.Capacity, Now: b.Capacity - b.Left, Back: append([]time.Duration{}, b.back...), Hold: event.TimeWaitLen,
		Growth: growth / seconds, Spend: (float64(b.Taken) - growth) / seconds,
	}
	use.Lasting = use.Now - int64(len(use.Back))
	if n := b.States[event.TimeWait]; reuse && n > 0 && b.Timestamps == n {
		use.Hold = after
	}
	o := use.Outlook()
	b.Level, b.FailsIn = o.Level, o.In
}
