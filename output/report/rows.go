// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"finwait/tracer/event"
)

// closers makes rows of the groups, the smaller peers of a service together.
func (v *view) closers() (rows []Closers) {
	type row struct {
		*group
		peers int
	}
	seen := map[groupKey]int{}
	rest := map[groupKey]*row{}
	var list []*row
	for _, g := range v.all {
		if g.closes == 0 {
			continue
		}
		k := g.groupKey
		k.peer, k.any = [16]byte{}, true
		seen[k]++
		if seen[k] <= maxPeers && !g.any {
			list = append(list, &row{g, 1})
			continue
		}
		if rest[k] == nil {
			rest[k] = &row{&group{groupKey: k}, 0}
			list = append(list, rest[k])
		}
		rest[k].merge(g)
		rest[k].peers++
	}
	slices.SortStableFunc(list, func(a, b *row) int { return compareGroups(a.group, b.group) })
	for _, g := range list[:min(len(list), maxRows)] {
		c := Closers{
			Host: v.label(), NetNS: g.netns, Process: v.program(g.program), Role: g.role.String(), Peer: peerName(g.group),
			Closes: g.closes, SameHost: g.mirrored, Aborted: g.aborted, Closers: map[string]uint64{}, Methods: map[string]uint64{},
		}
		if g.any {
			c.Peer = fmt.Sprintf("%d other peers", g.peers)
			if g.role != event.Server && g.port != 0 {
				c.Peer += ", port " + strconv.Itoa(int(g.port))
			}
		}
		if g.mate > otherPrograms {
			mate := v.program(g.mate)
			c.Mate = &mate
		}
		if g.role == event.Server {
			c.LocalPort = g.port
		}
		for i, n := range g.closers {
			if n > 0 {
				c.Closers[event.Closer(i).String()] = n
			}
		}
		for i, n := range g.methods {
			if m := event.Method(i).String(); n > 0 && m != "" {
				c.Methods[m] = n
			}
		}
		if g.lifetimes > 0 {
			mean := g.lifetime / time.Duration(g.lifetimes)
			c.Lifetime = &mean
		}
		rows = append(rows, c)
	}
	return rows
}

func (v *view) timeWait() TimeWait {
	w := &v.timeWaits
	out := TimeWait{
		Host: v.label(), Born: w.born, Ports: w.ports, Live: w.alive, Peak: w.peak,
		Length: length(w.length), Late: length(w.late), Ends: map[string]uint64{},
		Restarts: w.restarts, Restart: w.restarted, Bars: bars(w.length),
	}
	if w.peakAt != 0 {
		at := v.wall(w.peakAt)
		out.PeakAt = &at
	}
	for i, n := range w.ended {
		if n > 0 {
			out.Ends[event.EndReason(i).String()] = n
		}
	}
	out.Timeline = v.timeline(v.grid.sums(w.track, w.existing, v.now))
	return out
}

func (v *view) timeline(values []int64) *Timeline {
	return &Timeline{From: v.wall(v.grid.base), Step: asDuration(v.grid.width), Values: values}
}

func (v *view) ports() (rows []Ports) {
	// What a port costs: the usual TIME_WAIT of this kernel, the rounding of its timer included.
	hold := timeWaitLen
	if w := length(v.timeWaits.length); w != nil && v.timeWaits.ended[event.EndExpired] > 0 {
		hold = max(hold, min(w.P50, timeWaitLen+5*time.Second))
	}
	for _, p := range v.budgets.sorted() {
		if len(rows) == maxRows {
			break
		}
		ns := v.namespaces[p.netns]
		capacity := ns.capacity()
		row := Ports{
			Host: v.label(), NetNS: p.netns, Local: address(p.tuple.LocalAddr()), Peer: p.tuple.PeerAddr().String(),
			Capacity: capacity, Now: p.now, Taken: p.taken, Reused: p.reused, Failed: p.failed,
			budget: p, host: v.host,
		}
		row.Process = v.program(p.program)
		if p.taken == 0 {
			row.Process = v.program(p.failer)
		}
		if capacity > 0 {
			row.Range = fmt.Sprintf("%d-%d", ns.ports.First, ns.ports.Last)
		}
		peak, at := p.busiest(&v.grid, v.now)
		row.Peak = peak
		if at != 0 {
			t := v.wall(at)
			row.PeakAt = &t
		}
		o := p.outlook(&v.grid, v.first, v.now, capacity, hold, ns.reuseDelay())
		row.Rate, row.Level = round(o.rate), round(o.Level)
		row.ByReuse = o.reuse
		if o.In >= 0 {
			row.FailsIn = &o.In
		}
		if p.failed > 0 {
			t := v.wall(p.failedAt[0])
			row.FirstFail = &t
		}
		if p.held != nil && len(rows) < maxTimelines {
			held, open := v.grid.sums(p.held, 0, v.now), v.grid.sums(p.open, 0, v.now)
			for i := range held {
				held[i] += open[i]
			}
			row.Timeline = v.timeline(held)
		}
		rows = append(rows, row)
	}
	return rows
}

func round(f float64) float64 { return float64(int64(f*10+0.5)) / 10 }

func address(a netip.AddrPort) string { return a.Addr().String() }

func (v *view) failures() (rows []Failure) {
	for errno, n := range v.failed {
		name := event.ErrnoName(errno)
		if name == "" {
			name = "unknown"
		}
		rows = append(rows, Failure{v.label(), name, n})
	}
	slices.SortFunc(rows, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Error, b.Error))
	})
	return rows
}

// lasting is by owner: a leak is a program's, whoever its peers are.
func (v *view) lasting() (rows []Lasting) {
	type owner struct {
		program uint32
		role    event.Role
	}
	sums := map[owner]*group{}
	var order []owner
	for _, g := range v.all {
		o := owner{g.program, g.role}
		if sums[o] == nil {
			sums[o] = &group{groupKey: groupKey{program: g.program, role: g.role}}
			order = append(order, o)
		}
		sums[o].merge(g)
	}
	for _, o := range order {
		g := sums[o]
		for _, s := range []struct {
			state string
			*lasts
			neverFin uint64
		}{{"CLOSE_WAIT", &g.closeWait, 0}, {"FIN_WAIT2", &g.finWait2, g.neverFin}, {"CLOSE", &g.dead, 0}} {
			if s.ended+s.open+s.neverFin == 0 {
				continue
			}
			rows = append(rows, Lasting{
				Host: v.label(), State: s.state, Process: v.program(g.program), Role: g.role.String(),
				Entered: s.entered, Long: s.ended, Open: s.open, NeverFin: s.neverFin, Longest: s.longest,
			})
		}
	}
	slices.SortStableFunc(rows, func(a, b Lasting) int {
		return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(b.Open, a.Open), cmp.Compare(b.Long, a.Long))
	})
	return rows[:min(len(rows), maxRows)]
}

func (v *view) connections() (rows []Connection) {
	list, kinds := v.worst.all()
	for i := range list {
		b := &list[i]
		row := Connection{
			Host: v.label(), Time: v.wall(b.ktime), Process: v.program(b.program), NetNS: b.netns, Role: b.role.String(),
			Local: b.tuple.LocalAddr().String(), Peer: b.tuple.PeerAddr().String(),
			Closer: b.closer.String(), Method: b.method.String(), Why: b.why(kinds[i]),
		}
		if b.pid != 0 {
			row.Process.PIDs, row.Process.More = []uint32{b.pid}, false
		}
		rows = append(rows, row)
	}
	return rows
}

// why says in a few words what is bad about a connection.
func (b *bad) why(k kind) string {
	switch k {
	case stuckCloseWait:
		return "CLOSE_WAIT for " + Span(asDuration(b.value))
	case stuckFinWait2:
		return "FIN_WAIT2 for " + Span(asDuration(b.value))
	case stuckDead:
		return "dead, and held open for another " + Span(asDuration(b.value))
	case noFin:
		return "the peer never sent its FIN"
	case linger0:
		return "closed with SO_LINGER 0 after sending " + size(b.value)
	case unreadData:
		return "closed with " + size(b.value) + " unread: RST"
	case restarted:
		return "TIME_WAIT restarted " + strconv.FormatInt(b.value, 10) + "× by the peer's FIN"
	case cutByReset:
		return "TIME_WAIT cut short by an RST, " + Span(asDuration(b.value)) + " early"
	}
	return "connect() failed: " + cmp.Or(event.ErrnoName(b.errno), "unknown")
}
