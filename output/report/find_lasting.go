// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"

	"finwait/tracer/event"
)

// closeWaitFindings: the peer has closed, this side's program has not.
func (v *view) closeWaitFindings() (out []Finding) {
	for _, g := range append(v.byProgram(false), v.byProgram(true)...) {
		l := &g.closeWait
		f := Finding{
			ID: "close-wait-leak", Severity: Warning,
			Title: fmt.Sprintf("%s does not close %s that its peers have closed", v.who(g.program), plural(l.leaks, "connection")),
			Evidence: []string{
				fmt.Sprintf("%s in CLOSE_WAIT for more than %s when the trace ended; the oldest for %s.", plural(l.leaks, "connection"), Span(leaking), Span(l.longest)),
				fmt.Sprintf("%s entered CLOSE_WAIT during the trace.", plural(l.entered, "connection")),
			},
			Means: "The peer's FIN has arrived and the program was told (a read returned 0), but it never called close(). Each holds a descriptor and memory until the process ends; no timeout of the kernel ends them.",
			Change: []string{
				"Fix the program: close on end of file, on every path, errors included. In Go: `defer resp.Body.Close()`; in pools: check connections before they are put back.",
				"Until then: restart it before it runs out of descriptors. `finwait sockets --state CLOSE_WAIT --watch` shows how many there are, without a trace.",
			},
			Not: []string{"Do not look for a sysctl. Keep-alive ends CLOSE_WAIT only after the peer's host has forgotten the connection (its tcp_fin_timeout), with an RST, and frees no descriptor: the sockets are then in CLOSE, where ss does not show them."},
		}
		switch {
		case l.leaks >= manyLeaks:
			f.Severity = Critical
		case l.leaks >= enoughLeaks:
		case l.late >= enoughHarm:
			f.ID, f.Severity = "close-wait-slow", Info
			f.Title = fmt.Sprintf("%s closes late: up to %s after its peers", v.who(g.program), Span(l.longest))
			f.Evidence[0] = fmt.Sprintf("%s stayed in CLOSE_WAIT for more than %s before this side closed; the longest %s.", plural(l.late, "connection"), Span(leaking), Span(l.longest))
			f.Means = "The program notices the peer's FIN late: idle connections in a pool that nobody reads, or a slow request whose client has given up."
			f.Change = []string{"Check pooled connections before use and drop dead ones; cancel work when its client is gone."}
		default:
			continue
		}
		f.Examples = v.examples(g.examples[stuckCloseWait], noteSpan("for"))
		c := v.choose(g)
		c.closer, c.method = event.CloserPeer, event.MethodFin
		f.Replay = v.command(c)
		out = append(out, f)
	}
	return out
}

// finWait2Findings: this side has closed, the peer never does. Where the peer is on this
// host too, its CLOSE_WAIT is the finding.
func (v *view) finWait2Findings() (out []Finding) {
	for _, g := range append(append([]*group(nil), v.clients...), v.servers...) {
		if g.neverFin < enoughHarm || g.mirrored*2 > g.closes {
			continue
		}
		f := Finding{ID: "peer-never-sends-fin", Severity: Info}
		f.Evidence = []string{fmt.Sprintf("%s closed by this side waited in vain in FIN_WAIT2 for the peer's FIN and were dropped by the kernel.", plural(g.neverFin, "connection"))}
		if t := v.setting(g.netns, "tcp_fin_timeout"); t != "" {
			f.Evidence = append(f.Evidence, "tcp_fin_timeout is "+t+" s there.")
		}
		f.Means = "The peer's kernel acknowledged the FIN but its program does not close: a CLOSE_WAIT leak over there, or a host or NAT that has gone away."
		f.Change = []string{"Look at the peer: `finwait sockets --state CLOSE_WAIT` there says which program."}
		f.Not = []string{"Do not raise tcp_fin_timeout: it only keeps dead sockets longer."}
		if g.role == event.Server {
			f.Title = fmt.Sprintf("Clients of port %d never close: %s of %s timed out in FIN_WAIT2", g.port, plural(g.neverFin, "connection"), v.who(g.program))
		} else {
			f.Title = fmt.Sprintf("%s never closes: %s of %s timed out in FIN_WAIT2", peerName(g), plural(g.neverFin, "connection"), v.who(g.program))
		}
		f.Examples = v.examples(g.examples[noFin], noteSpan("after"))
		c := v.choose(g)
		c.closer, c.closes = event.CloserLocal, true
		f.Replay = v.command(c)
		out = append(out, f)
	}
	return out
}
