// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"

	"finwait/tracer/event"
)

// byProgram adds up the groups of each program and role, over all peers and ports.
func (v *view) byProgram(clients bool) (list []*group) {
	index := map[uint32]*group{}
	for _, g := range v.all {
		if (g.role == event.Client) != clients {
			continue
		}
		s := index[g.program]
		if s == nil {
			s = &group{groupKey: groupKey{program: g.program, role: g.role, port: g.port, any: true}}
			index[g.program] = s
			list = append(list, s)
		}
		if s.port != g.port {
			s.port = 0
		}
		s.merge(g)
	}
	slices.SortFunc(list, compareGroups)
	return list
}

// lingerFindings: SO_LINGER 0, wrong on a server, right for a prober.
func (v *view) lingerFindings() (out []Finding) {
	for _, g := range v.servers {
		n := g.methods[event.MethodLinger0]
		if n < enoughHarm {
			continue
		}
		f := Finding{
			ID: "linger0-server", Severity: Warning,
			Title:    fmt.Sprintf("%s resets connections to its port %d: close() with SO_LINGER 0", v.who(g.program), g.port),
			Evidence: []string{fmt.Sprintf("%s ended by SO_LINGER 0 on this side.", some(n, g.closes, "connection"))},
			Means:    "close() throws away what is not yet sent or acknowledged and sends an RST. Clients lose the end of a response and see ECONNRESET.",
			Change:   []string{"Take SO_LINGER with time 0 out of the server; where it was set against TIME_WAIT, let clients close first, or leave TIME_WAIT: on a server it costs no port."},
			Not:      []string{"Do not replace it by closing with data unread: that is an RST too."},
		}
		f.Examples = v.examples(g.examples[linger0], func(n int64) string { return size(n) + " sent" })
		c := v.choose(g)
		c.closer, c.method = event.CloserLocal, event.MethodLinger0
		f.Replay = v.command(c)
		out = append(out, f)
	}
	for _, g := range v.byProgram(true) {
		n := g.methods[event.MethodLinger0]
		if n < enoughHarm {
			continue
		}
		f := Finding{
			ID: "linger0-client", Severity: Warning,
			Title:    fmt.Sprintf("%s resets its connections: close() with SO_LINGER 0 after sending data", v.who(g.program)),
			Evidence: []string{fmt.Sprintf("%s ended by SO_LINGER 0 on this side; %s of them after sending more than %s.", some(n, g.closes, "connection"), Count(n-g.small), size(proberBytes))},
			Means:    "close() throws away what is not yet sent or acknowledged and sends an RST. The peer may never see the end of a request, and logs ECONNRESET.",
			Change:   []string{"Close in the ordinary way, and keep connections open if the reason was TIME_WAIT."},
		}
		if float64(g.small) >= mostly*float64(n) {
			f.ID, f.Severity = "linger0-prober", Info
			f.Title = fmt.Sprintf("%s ends its probes with SO_LINGER 0, which is right for a prober", v.who(g.program))
			f.Evidence[0] = fmt.Sprintf("%s ended by SO_LINGER 0 on this side; %s of them after sending %s at most.", some(n, g.closes, "connection"), Count(g.small), size(proberBytes))
			f.Means = "A health check that only asks whether a port answers has nothing to lose: the RST saves it a port and a minute of TIME_WAIT for each probe."
			f.Change = []string{"Nothing. If the probed server logs ECONNRESET for them, silence the log line, not the prober."}
			f.Not = []string{"Do not copy this setting to a client that carries requests."}
		}
		f.Examples = v.examples(g.examples[linger0], func(n int64) string { return size(n) + " sent" })
		c := v.choose(g)
		c.closer, c.method = event.CloserLocal, event.MethodLinger0
		f.Replay = v.command(c)
		out = append(out, f)
	}
	return out
}

// unreadFindings: close() with data in the receive queue.
func (v *view) unreadFindings() (out []Finding) {
	for _, g := range append(v.byProgram(true), v.byProgram(false)...) {
		n := g.methods[event.MethodUnreadData]
		if n < enoughHarm {
			continue
		}
		f := Finding{
			ID: "unread-data", Severity: Warning,
			Title:    fmt.Sprintf("%s closes connections without reading what has arrived: RST", v.who(g.program)),
			Evidence: []string{fmt.Sprintf("%s closed with data unread, %s in all.", some(n, g.closes, "connection"), size(int64(g.discarded)))},
			Means:    "The kernel answers such a close() with an RST instead of a FIN. The peer gets ECONNRESET, and may lose what this side sent last: an RST also discards what the peer had not read yet.",
			Not:      []string{"Do not set SO_LINGER to wait: the RST comes all the same."},
		}
		switch {
		case g.role == event.Client && v.processes.list[g.program].server:
			f.Means += " In a proxy it is what clients leave who give up: the response arrives, and nobody waits for it."
			f.Change = []string{"See whether clients give up, and when: nginx logs status 499, HAProxy a termination state that begins with C. Then answer faster, or have them wait longer."}
		case g.role == event.Client:
			f.Change = []string{"Read responses to their end before closing; where the rest is not wanted, shutdown() the sending side and read until the peer closes."}
		default:
			f.Change = []string{"Read the request to its end before the error response and close (413, 401, …), or shutdown() the sending side and drain what comes for a moment: nginx `lingering_close`."}
		}
		if g.role != event.Client && v.keepalive(g.program) {
			f.Change = append([]string{"If these are requests that came as the keep-alive timeout ran out (see the finding about it), change the timeouts, and nothing else."}, f.Change...)
		}
		f.Examples = v.examples(g.examples[unreadData], func(n int64) string { return size(n) + " unread" })
		c := v.choose(g)
		c.closer, c.method = event.CloserLocal, event.MethodUnreadData
		f.Replay = v.command(c)
		out = append(out, f)
	}
	return out
}

// keepalive reports whether a server closes connections after the same idle time.
func (v *view) keepalive(program uint32) bool {
	return slices.ContainsFunc(v.servers, func(g *group) bool {
		_, _, ok := g.idleLocal.cluster()
		return ok && g.program == program
	})
}

// cutFindings: TIME_WAIT that did not last.
func (v *view) cutFindings() (out []Finding) {
	w := &v.timeWaits
	var ended uint64
	for _, n := range w.ended {
		ended += n
	}
	ended -= w.ended[event.EndOverflow]
	// Those that run out do so after a minute: in a short trace only the others have ended.
	ended += uint64(max(w.alive, 0))
	if n := w.ended[event.EndReset]; n >= enoughHarm && float64(n) >= cutShare*float64(ended) {
		f := Finding{
			ID: "time-wait-cut-by-rst", Severity: Info,
			Title:    fmt.Sprintf("An RST ended %s of %s early", Percent(float64(n), float64(ended)), plural(ended, "TIME_WAIT")),
			Evidence: []string{fmt.Sprintf("%s were ended by an RST.", some(n, ended, "TIME_WAIT"))},
			Means: "The peer, or a firewall or NAT on the way that forgot the connection, answered a segment with RST. The kernel then drops TIME_WAIT, unless tcp_rfc1337 is set, " +
				"and a late segment of the old connection could be taken for one of the new.",
			Change: []string{"Find who sends the RST: an idle timeout of a firewall shorter than the connections', or peers that close with SO_LINGER 0 or data unread.", "Where old segments are a risk: net.ipv4.tcp_rfc1337=1 ignores these RSTs."},
		}
		v.showCut(&f, cutByReset)
		out = append(out, f)
	}
	if n := w.ended[event.EndReusedBySyn]; n >= enoughHarm && float64(n) >= cutShare*float64(ended) {
		f := Finding{
			ID: "time-wait-cut-by-syn", Severity: Info,
			Title:    fmt.Sprintf("Peers reopened %s of %s early", Percent(float64(n), float64(ended)), plural(ended, "TIME_WAIT")),
			Evidence: []string{fmt.Sprintf("%s were ended by a new SYN from the same address and port.", some(n, ended, "TIME_WAIT"))},
			Means:    "Clients come back from the same port within a minute: they are short of ports, use fixed ones, or share one address behind a NAT. The kernel accepts a SYN that is newer by timestamp or sequence number, and this is safe; others are answered with an ACK, and wait.",
			Change:   []string{"Nothing on this side. If clients see slow connects, they are the ones to keep connections open, or the NAT needs more addresses."},
			Not:      []string{"Do not try to shorten TIME_WAIT here: what ends it early is the clients' hurry."},
		}
		v.showCut(&f, cutBySyn)
		out = append(out, f)
	}
	if n := w.restarted; n >= enoughHarm && float64(n) >= cutShare*float64(ended) {
		f := Finding{
			ID: "time-wait-restarted", Severity: Info,
			Title:    fmt.Sprintf("The peer's repeated FIN restarted %s of %s", Percent(float64(n), float64(ended)), plural(ended, "TIME_WAIT")),
			Evidence: []string{fmt.Sprintf("%s restarted, %s times in all.", plural(n, "TIME_WAIT"), Count(w.restarts))},
			Means:    "This side's last ACK did not reach the peer, which sent its FIN again: loss on the way back, or a firewall that forgets a connection at the first FIN. Each restart is another minute.",
			Change:   []string{"Look for loss towards these peers, and for a firewall or load balancer that drops ACKs after FIN."},
		}
		v.showCut(&f, restarted)
		out = append(out, f)
	}
	return out
}

// showCut gives a finding the examples of the group that has most of them.
func (v *view) showCut(f *Finding, k kind) {
	note := noteSpan("after")
	if k == restarted {
		note = func(n int64) string { return Count(n) + " restarts" }
	}
	var most *group
	size := func(g *group) uint64 {
		switch k {
		case cutByReset:
			return g.ends[event.EndReset]
		case cutBySyn:
			return g.ends[event.EndReusedBySyn]
		}
		return g.restarts
	}
	for _, g := range v.all {
		if size(g) > 0 && (most == nil || size(g) > size(most)) {
			most = g
		}
	}
	if most == nil {
		return
	}
	f.Evidence = append(f.Evidence, fmt.Sprintf("Most of them, %s, are connections of %s with %s.", Count(size(most)), v.who(most.program), peerName(most)))
	f.Examples = v.examples(most.examples[k], note)
	c := v.choose(most)
	c.closes = true
	f.Replay = v.command(c)
}
