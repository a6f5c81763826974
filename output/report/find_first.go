// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"time"

	"finwait/tracer/event"
)

// served reports whether the connections lived as long as if they had carried more than one
// request, on average: those that live for one are over in less.
func (g *group) served() bool {
	return g.lifetimes > 0 && g.lifetime/time.Duration(g.lifetimes) >= idleFloor
}

// closesFirst reports whether this side is, as a rule, the one that closes first. When both
// close as soon as the response is over it is a race, which this side does not win each time.
func (g *group) closesFirst() bool {
	n := g.closers[event.CloserLocal]
	return float64(n) >= mostly*float64(g.closes) || n*2 >= g.closes && float64(n+g.outrun) >= mostly*float64(g.closes)
}

func (v *view) firstEvidence(g *group) []string {
	lines := []string{fmt.Sprintf("%s closed first by this side, %s; %s by the peer.", some(g.closers[event.CloserLocal], g.closes, "connection"), perSecond(g.closers[event.CloserLocal], asDuration(g.last-g.first)), Count(g.closers[event.CloserPeer]))}
	if float64(g.outrun) > (1-mostly)/2*float64(g.closes) {
		lines = append(lines, fmt.Sprintf("Both close as soon as a response is over: %s times the peer was as quick, or quicker.", Count(g.outrun)))
	}
	if g.lifetimes > 0 {
		lines = append(lines, "They lived "+Span(g.lifetime/time.Duration(g.lifetimes))+" on average.")
	}
	return lines
}

// clientFirst: a client, or a proxy towards its upstreams, closes right after use.
func (v *view) clientFirst() (out []Finding) {
	for _, g := range v.clients {
		n := g.closers[event.CloserLocal]
		if g.role != event.Client || g.program <= otherPrograms || g.prompt < enoughCloses || !g.closesFirst() ||
			g.prompt*2 < n || g.births*2 < g.prompt {
			continue
		}
		pressed, used := v.groupPressed(g), g.served()
		if used && !pressed {
			continue // a connection has an end some time: it served a while, and ports are plenty
		}
		f := Finding{ID: "client-closes-first", Severity: Info, Evidence: v.firstEvidence(g)}
		who, peer := v.who(g.program), peerName(g)
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of them within %s of the last data: not an idle timeout. Each kept a local port for a minute.", Count(g.prompt), Span(idleFloor)))
		switch x := v.processes.list[g.program]; {
		case x.server:
			f.Title = fmt.Sprintf("%s, a proxy, closes its upstream connections to %s first", who, peer)
			f.Means = "The proxy does not keep its upstream connections, or keeps fewer idle ones than it needs and closes the surplus. Every request then costs a handshake, and a local port for a minute."
			f.Change = []string{poolAdvice(x.comm.String())}
		default:
			f.Title = fmt.Sprintf("%s closes its connections to %s first, right after use", who, peer)
			f.Means = "Each request opens a connection and closes it: keep-alive is off, the pool is too small, or responses are not read to their end and so cannot be reused. Each close costs a local port for a minute."
			f.Change = []string{
				"Keep connections open between requests: one client object for all of them, a pool as large as the requests at a time (Go `MaxIdleConnsPerHost`, default 2), and read every response to its end before closing it.",
			}
		}
		if used {
			f.Means = "The connections serve for a while and are closed right after their last use, not when idle: a limit of requests or of time for each connection, a pool that shrinks, or clients that give up. Each close costs a local port for a minute."
			f.Change = append([]string{"Raise such a limit where there is one: nginx upstream `keepalive_requests` and `keepalive_time`, Envoy `max_requests_per_connection`, HikariCP `maxLifetime`."}, f.Change...)
		}
		for i := range v.budgeted {
			p := &v.budgeted[i]
			if p.budget.tuple.Peer == g.peer && p.budget.tuple.PeerPort == g.port && p.NetNS == g.netns && p.PeakShare() >= portsPressed {
				f.Severity = Warning
				f.Evidence = append(f.Evidence, fmt.Sprintf("%s of the local ports from %s to this peer were in use at peak.", Percent(float64(p.Peak), float64(p.Capacity)), p.Local))
			}
		}
		f.Not = []string{
			"Do not answer with SO_LINGER 0: it avoids TIME_WAIT by losing data.",
			"Do not make the server close first instead: that moves TIME_WAIT there, and makes requests fail that cross its FIN.",
		}
		f.Examples = v.examples(g.examples[localFirst], noteSpan("idle for"))
		c := v.choose(g)
		c.closer = event.CloserLocal
		f.Replay = v.command(c)
		out = append(out, f)
	}
	return out
}

// poolAdvice is how a proxy is given room for its upstream connections.
func poolAdvice(comm string) string {
	const what = "Give the upstream pool room for the connections in use at a time"
	switch comm {
	case "nginx":
		return what + ": `keepalive N` in the upstream block, idle connections for each worker, with `proxy_http_version 1.1` and `proxy_set_header Connection \"\"`."
	case "haproxy":
		return what + ": `http-reuse`, and no `pool-max-conn` below it on the server line."
	case "envoy":
		return what + ": no `max_requests_per_connection`, and `idle_timeout` below the upstream's."
	}
	return what + ": nginx `keepalive N` with `proxy_http_version 1.1` and an empty Connection header; HAProxy `http-reuse` and `pool-max-conn`; Envoy no `max_requests_per_connection`; Go `MaxIdleConnsPerHost` (default 2)."
}

// serverFirst: a server closes right after the response.
func (v *view) serverFirst() (out []Finding) {
	for _, g := range v.servers {
		n := g.closers[event.CloserLocal]
		if g.program <= otherPrograms || g.prompt < enoughCloses || !g.closesFirst() || g.prompt*2 < n || g.births*2 < g.prompt || g.served() {
			continue
		}
		f := Finding{
			ID: "server-closes-first", Severity: Info, Evidence: v.firstEvidence(g),
			Title: fmt.Sprintf("%s closes the connections to its port %d first, right after use", v.who(g.program), g.port),
			Means: "The server does not keep connections for another request: HTTP/1.0, `Connection: close`, keep-alive switched off, or one request per connection by design. " +
				"Its TIME_WAITs cost memory only, no local port; the cost is a handshake for every request, at both ends.",
			Change: []string{
				"If clients ask for it, by HTTP/1.0 or `Connection: close`, the change is theirs. nginx asks its upstreams for it unless told otherwise: `keepalive N` in the upstream block, `proxy_http_version 1.1` and `proxy_set_header Connection \"\"`.",
				"Otherwise switch keep-alive on and let clients close idle connections first: nginx `keepalive_timeout` and `keepalive_requests`, Tomcat `keepAliveTimeout` and `maxKeepAliveRequests`.",
				"If one request per connection is the protocol, leave it: TIME_WAIT on a server is harmless.",
			},
			Not: []string{
				"Do not fight these TIME_WAITs with tcp_tw_reuse: it is for outgoing connections only.",
				"Do not close with SO_LINGER 0: clients would see their responses cut off by an RST.",
			},
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of them within %s of the last data: not an idle timeout.", Count(g.prompt), Span(idleFloor)))
		if g.mate > otherPrograms {
			f.Evidence = append(f.Evidence, fmt.Sprintf("The client is %s, on this host too.", v.who(g.mate)))
		}
		f.Examples = v.examples(g.examples[localFirst], noteSpan("idle for"))
		c := v.choose(g)
		c.closer = event.CloserLocal
		f.Replay = v.command(c)
		out = append(out, f)
	}
	return out
}

// idleFindings: connections end after the same idle time, somebody's timeout. The side
// that should have the shorter one is the client.
func (v *view) idleFindings() (out []Finding) {
	for _, g := range v.clients {
		if g.role != event.Client || g.program <= otherPrograms {
			continue
		}
		if t, n, ok := g.idlePeer.cluster(); ok && n >= enoughCloses/2 {
			out = append(out, v.peerShorter(g, t, n))
		}
		if t, n, ok := g.idleLocal.cluster(); ok && n >= enoughCloses {
			out = append(out, v.poolShorter(g, t, n))
		}
	}
	for _, g := range v.servers {
		// Where the client is on this host too, it has got the finding above.
		if g.program <= otherPrograms || g.mirrored*2 > g.closes {
			continue
		}
		if t, n, ok := g.idleLocal.cluster(); ok && n >= enoughCloses/2 {
			f := Finding{
				ID: "keepalive-shorter-than-clients", Severity: Info,
				Title: fmt.Sprintf("%s closes connections to its port %d after %s idle, before its clients do", v.who(g.program), g.port, Span(t)),
				Evidence: []string{fmt.Sprintf("%s of %s that were idle when this side closed them had been so for about %s.", Count(n), Count(g.idleLocal.all), Span(t)),
					fmt.Sprintf("%s were closed first by this side.", some(g.closers[event.CloserLocal], g.closes, "connection"))},
				Means: "That is the server's keep-alive timeout, and its clients keep connections longer. A request that is sent while the FIN is on its way fails with ECONNRESET: rare errors that nobody can reproduce, 502 at a load balancer.",
				Change: []string{
					fmt.Sprintf("Make this timeout longer than that of the clients or of the load balancer in front (many use 60 s; then 75 s or more here), or theirs shorter than %s.", Span(t)),
				},
				Not: []string{"Do not switch keep-alive off to be rid of the race: that costs a handshake for every request."},
			}
			f.Examples = v.examples(g.examples[localIdle], noteSpan("idle for"))
			if g.crossed > 0 {
				f.Severity = Warning
				f.Evidence = append(f.Evidence, fmt.Sprintf("Requests that came after this side's close(): %s. Each was answered with an RST.", Count(g.crossed)))
				f.Examples = v.examples(g.examples[crossing], noteSpan("a request met the FIN after"))
			}
			if n := g.methods[event.MethodUnreadData]; n > 0 {
				f.Severity = Warning
				f.Evidence = append(f.Evidence, fmt.Sprintf("Closed with data unread, and so an RST: %s. So ends a request that comes just before the close().", Count(n)))
			}
			c := v.choose(g)
			c.closer = event.CloserLocal
			f.Replay = v.command(c)
			out = append(out, f)
		}
	}
	return out
}

func (v *view) peerShorter(g *group, t time.Duration, n uint64) Finding {
	f := Finding{
		ID: "pool-outlives-keepalive", Severity: Warning,
		Title: fmt.Sprintf("%s closes idle connections of %s after %s, before %s does", peerName(g), v.who(g.program), Span(t), v.who(g.program)),
		Evidence: []string{
			fmt.Sprintf("%s of %s that were idle when the peer closed them had been so for about %s.", Count(n), Count(g.idlePeer.all), Span(t)),
			fmt.Sprintf("%s were closed first by the peer.", some(g.closers[event.CloserPeer], g.closes, "connection")),
		},
		Means: "The peer's keep-alive is shorter than this side's idle pool. A request that is sent while the peer's FIN is on its way fails with ECONNRESET or EPIPE, or is sent twice.",
		Change: []string{
			fmt.Sprintf("Let the client close first: set the idle timeout of its pool a few seconds below %s (Go `IdleConnTimeout`, nginx upstream `keepalive_timeout`, Envoy `idle_timeout`).", Span(t)),
			"Or make the peer's keep-alive longer than the pool's timeout.",
		},
		Not: []string{"Do not retry requests blindly: one that is not idempotent may have been done."},
	}
	f.Examples = v.examples(g.examples[peerIdle], noteSpan("idle for"))
	if g.crossed > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("Requests that this side sent all the same: %s. The peer answered each with an RST; it failed.", Count(g.crossed)))
		f.Examples = v.examples(g.examples[crossing], noteSpan("a request met the FIN after"))
	}
	if n := g.methods[event.MethodRst]; n > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("Reset by the peer: %s. So ends a request that comes just before its close().", Count(n)))
	}
	c := v.choose(g)
	c.closer, c.method = event.CloserPeer, event.MethodFin
	f.Replay = v.command(c)
	return f
}

func (v *view) poolShorter(g *group, t time.Duration, n uint64) Finding {
	f := Finding{
		ID: "idle-pool-timeout", Severity: Info,
		Title: fmt.Sprintf("%s drops its idle connections to %s after %s", v.who(g.program), peerName(g), Span(t)),
		Evidence: []string{
			fmt.Sprintf("%s of %s that were idle when this side closed them had been so for about %s.", Count(n), Count(g.idleLocal.all), Span(t)),
			fmt.Sprintf("%s were closed first by this side, each keeping a local port for a minute more.", some(g.closers[event.CloserLocal], g.closes, "connection")),
		},
		Means: "That is the idle timeout of the pool, shorter than the peer's keep-alive: the right way round, since no request can then cross the peer's FIN. It costs local ports when it happens often.",
		Change: []string{
			"Nothing, as long as ports are plenty. If they are not: a longer idle timeout, still below the peer's, or fewer connections in the pool.",
		},
		Not: []string{"Do not raise the timeout above the peer's keep-alive: requests would fail on connections that the peer is closing."},
	}
	for i := range v.budgeted {
		p := &v.budgeted[i]
		if p.budget.tuple.Peer == g.peer && p.budget.tuple.PeerPort == g.port && p.PeakShare() >= portsPressed {
			f.Severity = Warning
		}
	}
	f.Examples = v.examples(g.examples[localIdle], noteSpan("idle for"))
	c := v.choose(g)
	c.closer = event.CloserLocal
	f.Replay = v.command(c)
	return f
}
