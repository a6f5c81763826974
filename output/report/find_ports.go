// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strconv"
	"time"

	"finwait/tracer/event"
)

// pressed reports whether some port budget of the host is in trouble, or near it.
func (v *view) pressed() bool {
	for i := range v.budgeted {
		if p := &v.budgeted[i]; p.Failed > 0 || p.PeakShare() >= portsPressed || p.FailsIn != nil && *p.FailsIn <= soon {
			return true
		}
	}
	return false
}

// portFindings: connect() fails for want of a port, or soon will.
func (v *view) portFindings() (out []Finding) {
	for i := range v.budgeted {
		p := &v.budgeted[i]
		share := p.PeakShare()
		failsSoon := p.FailsIn != nil && *p.FailsIn <= soon
		if p.Failed == 0 && (share < portsHigh || p.ByReuse) && !failsSoon {
			continue
		}
		f := Finding{ID: "ports-nearly-exhausted", Severity: Warning}
		who := v.who(p.budget.program)
		if p.budget.taken == 0 {
			who = v.who(p.budget.failer)
		}
		switch {
		case p.Failed > 0:
			f.ID, f.Severity = "ports-exhausted", Critical
			f.Title = fmt.Sprintf("%s ran out of local ports to %s: %s failed", who, p.Peer, plural(p.Failed, "connect"))
			if p.unexplained() {
				f.Title = fmt.Sprintf("%s found no free local port to %s: %s failed", who, p.Peer, plural(p.Failed, "connect"))
			}
		case failsSoon && share < portsHigh:
			f.Title = fmt.Sprintf("%s runs out of local ports to %s in %s at this rate", who, p.Peer, Span(*p.FailsIn))
		default:
			f.Title = fmt.Sprintf("%s used %s of the local ports to %s", who, Percent(float64(p.Peak), float64(p.Capacity)), p.Peer)
		}
		if share >= portsFull || p.FailsIn != nil && *p.FailsIn <= recent {
			f.Severity = Critical
		}
		f.Evidence = v.portEvidence(p)
		f.Means = fmt.Sprintf("connect() needs a local port that is free towards %s; each connection that this side closes first keeps its port for another minute. "+
			"When none is left, connect() fails with EADDRNOTAVAIL, to this peer only.", p.Peer)
		f.Change = []string{
			"Reuse connections: enlarge the idle pool, or switch keep-alive on, so that fewer are opened and closed. This removes the cause.",
			fmt.Sprintf("Until then: more addresses or ports to spread over (each peer address and port, and each local address, has a range of its own), or a wider net.ipv4.ip_local_port_range%s.", nowRange(p)),
		}
		f.Not = []string{
			"Do not lower tcp_fin_timeout: it is for FIN_WAIT2 and does not shorten TIME_WAIT.",
			"Do not lower tcp_max_tw_buckets or close with SO_LINGER 0: both give up the protection that TIME_WAIT is, the latter unsent data too.",
		}
		v.reuseAdvice(&f, p)
		f.Replay = v.command(choice{
			netns: p.NetNS, local: p.budget.tuple.LocalAddr().Addr(), peer: p.budget.tuple.PeerAddr().Addr(),
			peerPort: p.budget.tuple.PeerPort,
		})
		out = append(out, f)
	}
	return out
}

// reuseAdvice says whether tcp_tw_reuse could help, as far as the trace knows.
func (v *view) reuseAdvice(f *Finding, p *Ports) {
	reuse := v.setting(p.NetNS, "tcp_tw_reuse")
	if reuse != "0" && (reuse != "2" || p.budget.tuple.PeerAddr().Addr().IsLoopback()) {
		return
	}
	const does = "net.ipv4.tcp_tw_reuse=1 lets connect() take a port over after one second of TIME_WAIT"
	switch with, without := v.timestamps(p); {
	case with > 0 && without == 0:
		f.Change = append(f.Change, "Also until then: "+does+". It needs TCP timestamps, and connections to this peer have them. It is "+reuse+" now.")
	case without > 0 && with == 0:
		f.Not = append(f.Not, "Do not expect tcp_tw_reuse to help: connections to this peer do not negotiate the TCP timestamps that it needs.")
	default:
		f.Change = append(f.Change, "If the peer negotiates TCP timestamps: "+does+". It is "+reuse+" now.")
	}
}

// timestamps counts the TIME_WAITs of a budget with and without TCP timestamps.
func (v *view) timestamps(p *Ports) (with, without uint64) {
	for _, g := range v.clients {
		if g.peer == p.budget.tuple.Peer && g.port == p.budget.tuple.PeerPort && g.netns == p.NetNS {
			with, without = with+g.timestamps[1], without+g.timestamps[0]
		}
	}
	return with, without
}

// unexplained: connects failed though the trace shows most of the range free.
func (p *Ports) unexplained() bool {
	return p.Failed > 0 && p.Capacity > 0 && p.PeakShare() < portsHigh
}

func nowRange(p *Ports) string {
	if p.Range == "" {
		return ""
	}
	return " (now " + p.Range + ")"
}

func (v *view) portEvidence(p *Ports) (lines []string) {
	if p.Failed > 0 {
		line := fmt.Sprintf("%s failed with EADDRNOTAVAIL, from %s on", plural(p.Failed, "connect"), p.FirstFail.Format(time.TimeOnly)+" UTC")
		lines = append(lines, line+".")
	}
	line := fmt.Sprintf("%s in use at the end, %s at peak", plural(p.Now, "port"), Count(p.Peak))
	if p.Capacity > 0 {
		line += fmt.Sprintf(", of %s (%s)", Count(p.Capacity), Percent(float64(p.Peak), float64(p.Capacity)))
	}
	lines = append(lines, line+"; connections that stayed open are not counted.")
	if p.unexplained() {
		lines = append(lines, "So what the trace shows does not fill the range that there was when it began. Connections that stayed open hold the rest, or the range was narrower: "+
			"set since, by the socket (IP_LOCAL_PORT_RANGE), by ip_local_reserved_ports, or shared by sockets bound to a port before connect().")
	}
	line = fmt.Sprintf("%s connections a second of late", strconv.FormatFloat(p.Rate, 'f', -1, 64))
	if p.Capacity > 0 {
		line += fmt.Sprintf(": at that rate %s are in use, of %s", Count(int64(p.Level)), Count(p.Capacity))
		switch {
		case p.FailsIn != nil && *p.FailsIn > 0:
			line += ", and connect() begins to fail in " + Span(*p.FailsIn)
		case p.FailsIn != nil:
			line += ": connect() fails now"
		}
	}
	lines = append(lines, line+".")
	if p.Reused > 0 {
		lines = append(lines, fmt.Sprintf("connect() took a port over from TIME_WAIT %s times.", Count(p.Reused)))
	}
	return lines
}

func (v *view) setting(netns uint32, name string) string {
	if ns := v.namespaces[netns]; ns != nil {
		return ns.settings[name]
	}
	return ""
}

// overflowFindings: tcp_max_tw_buckets was reached.
func (v *view) overflowFindings() []Finding {
	n := v.timeWaits.ended[event.EndOverflow]
	if n == 0 {
		return nil
	}
	f := Finding{
		ID: "time-wait-overflow", Severity: Warning,
		Title: fmt.Sprintf("tcp_max_tw_buckets was reached: %s skipped TIME_WAIT", plural(n, "connection")),
		Means: "The kernel had no room for another TIME_WAIT and closed these connections at once. Late segments of theirs can reach a new connection with the same ports, " +
			"and the peer's FIN is answered with an RST where it comes after that.",
		Change: []string{
			"Close fewer connections from this side first (see the findings about who closes first).",
			"Raise net.ipv4.tcp_max_tw_buckets: one costs some 250 bytes of kernel memory.",
		},
		Not: []string{"Do not keep the limit low to get rid of TIME_WAIT: it saves little memory and no data."},
	}
	f.Evidence = []string{fmt.Sprintf("%s skipped, %s began, %s alive at peak.", Count(n), Count(v.timeWaits.born), Count(v.timeWaits.peak))}
	for _, g := range v.all {
		if len(g.examples[overflow]) == 0 {
			continue
		}
		if f.Replay == "" {
			c := v.choose(g)
			c.closes = true
			f.Replay = v.command(c)
			if limit := v.setting(g.netns, "tcp_max_tw_buckets"); limit != "" {
				f.Evidence = append(f.Evidence, "tcp_max_tw_buckets is "+limit+" there.")
			}
		}
		f.Examples = append(f.Examples, v.examples(g.examples[overflow], nil)...)
		if len(f.Examples) >= maxExamples {
			f.Examples = f.Examples[:maxExamples]
			break
		}
	}
	return []Finding{f}
}
