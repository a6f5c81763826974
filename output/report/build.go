// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"net/netip"
	"slices"
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
