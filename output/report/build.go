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

// Rows beyond these are in no answer that a person reads; their numbers are in the others.
const (
	maxRows = 400
	// maxPeers of one service have rows of their own, the busiest; the others share one.
	maxPeers = 5
	// maxTimelines is how many budgets carry theirs.
	maxTimelines = 8
)

// Report ends the traces and makes the report of them. The Collector is used up.
func (c *Collector) Report() *Report {
	r := &Report{
		Closers: []Closers{}, TimeWait: []TimeWait{}, Ports: []Ports{}, Failures: []Failure{},
		Lasting: []Lasting{}, Existing: []Existing{}, Findings: []Finding{}, Worst: []Connection{},
	}
	r.Trace.Complete = len(c.traces) > 0
	for _, t := range c.traces {
		f := t.file()
		r.Trace.Files = append(r.Trace.Files, f)
		r.Trace.Complete = r.Trace.Complete && f.Complete
	}
	for _, h := range c.hosts {
		h.conns.drain(h.commitOpen)
		v := &view{host: h, many: len(c.hosts) > 1}
		for _, t := range c.traces {
			if t.h == h {
				v.files = append(v.files, t.files...)
			}
		}
		v.build(r)
	}
	for _, t := range c.traces {
		r.Findings = append(r.Findings, t.findings()...)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return r
}

// view is one host's part of a report under construction.
type view struct {
	*host
	files []string // of this host
	many  bool     // hosts: name them

	all      []*group // as collected
	clients  []*group // by peer
	servers  []*group // by service, all peers together
	budgeted []Ports
}

func (v *view) label() string {
	if v.many {
		return v.name
	}
	return ""
}

func (v *view) wall(ktime int64) time.Time { return v.clock.Wall(ktime) }

func (v *view) elapsed() time.Duration { return asDuration(v.now - v.first) }

func (v *view) build(r *Report) {
	v.all = v.groups.sorted()
	v.split()
	r.Closers = append(r.Closers, v.closers()...)
	r.TimeWait = append(r.TimeWait, v.timeWait())
	v.budgeted = v.ports()
	r.Ports = append(r.Ports, v.budgeted...)
	r.Failures = append(r.Failures, v.failures()...)
	r.Lasting = append(r.Lasting, v.lasting()...)
	r.Existing = append(r.Existing, Existing{v.label(), v.sockets, v.timeWaits.existing, v.existed})
	r.Findings = append(r.Findings, v.findings()...)
	r.Worst = append(r.Worst, v.connections()...)
	r.Totals.Transitions += v.transitions
	r.Totals.Connections += v.host.connections
	for _, g := range v.all {
		r.Totals.Ends += g.closes
	}
	for _, n := range v.failed {
		r.Totals.Failed += n
	}
	r.Totals.Born += v.timeWaits.born
	r.Limits.Connections += v.conns.evicted
	r.Limits.Peers += v.groups.folded
	r.Limits.Budgets += v.budgets.evicted
	r.Limits.Programs += v.processes.folded
}

// split prepares groups for findings: a client is about a peer, a server about all.
func (v *view) split() {
	byService := map[groupKey]*group{}
	for _, g := range v.all {
		if g.role != event.Server {
			v.clients = append(v.clients, g)
			continue
		}
		k := g.groupKey
		k.peer, k.any = [16]byte{}, true
		s := byService[k]
		if s == nil {
			s = &group{groupKey: k}
			byService[k] = s
			v.servers = append(v.servers, s)
		}
		s.merge(g)
	}
	slices.SortFunc(v.servers, compareGroups)
}

func (v *view) program(id uint32) Program {
	p := v.processes.list[id]
	out := Program{Comm: printable(p.comm.Bytes()), Container: printable([]byte(p.container)), Exe: printable([]byte(p.exe)), More: p.more}
	if id == otherPrograms {
		return Program{Comm: "(others)"}
	}
	out.PIDs = slices.Clone(p.pids)
	slices.Sort(out.PIDs)
	return out
}

// peerName is how a group's other end is written.
func peerName(g *group) string {
	if g.any {
		return "other peers"
	}
	addr := netip.AddrFrom16(g.peer).Unmap()
	if g.role == event.Server {
		return addr.String()
	}
	return netip.AddrPortFrom(addr, g.port).String()
}

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
		Host: v.label(), Born: w.born, Live: w.alive, Peak: w.peak,
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
		o := p.outlook(&v.grid, v.first, v.now, capacity, hold)
		row.Rate, row.Level = round(o.rate), round(o.level)
		if o.in >= 0 {
			row.FailsIn = &o.in
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
