// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"finwait/tracer/event"
)

// TestFindings: every finding with evidence that carries it, and close by, evidence that
// does not. The lists are exact: a scenario makes these findings and no others.
func TestFindings(t *testing.T) {
	healthy := newWorld(5 * time.Minute)
	healthy.many(600, 0, 400*time.Millisecond, connection{
		process: api, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserPeer, method: event.MethodFin,
	})
	lossy := newWorld(time.Minute)
	lossy.lost = map[event.LossReason]uint64{event.LossRingFull: 12}
	restarts := newWorld(4 * time.Minute)
	restarts.many(30, 0, time.Second, connection{
		process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodClose, restarts: 2, timeWait: 90 * time.Second,
		idle: 3 * time.Second,
	})
	few := smallPool(20) // of the ports the trace shows; connects fail all the same
	few.refuse(time.Minute, nginx, "10.0.3.7:8080")
	for _, test := range []struct {
		name  string
		world *world
		want  []string // severity id
	}{
		{"nothing", newWorld(time.Minute), nil},
		{"healthy", healthy, nil},
		{"proxy, pool too small, ports plenty", smallPool(20), []string{"info client-closes-first"}},
		{"proxy, connections that served for a while", worn(20), nil},
		{"the same, half of the ports", worn(250), []string{"warning client-closes-first", "info tw-reuse-would-help", "info tcp-tw-recycle-is-gone"}},
		{"proxy, pool too small, half of the ports", smallPool(250), []string{"warning client-closes-first", "info tw-reuse-would-help", "info tcp-tw-recycle-is-gone"}},
		{"proxy, pool too small, most ports", smallPool(350), []string{
			"warning ports-nearly-exhausted", "warning client-closes-first", "info tw-reuse-would-help", "info tcp-tw-recycle-is-gone"}},
		{"ports exhausted", exhausted(), []string{"critical ports-exhausted", "warning client-closes-first", "info tw-reuse-would-help", "info tcp-tw-recycle-is-gone"}},
		{"no port, though most are free", few, []string{"critical ports-exhausted", "info client-closes-first", "info tw-reuse-would-help", "info tcp-tw-recycle-is-gone"}},
		{"reuse on already", withSettings(smallPool(250), "tcp_tw_reuse", "1"), []string{"warning client-closes-first", "info tcp-tw-recycle-is-gone"}},
		{"reuse off", withSettings(smallPool(250), "tcp_tw_reuse", "0"), []string{"warning client-closes-first", "info tw-reuse-would-help", "info tcp-tw-recycle-is-gone"}},
		{"server closes first", serverFirst(), []string{"info server-closes-first"}},
		{"peer's keep-alive is shorter", keepalive(5 * time.Second), []string{"warning pool-outlives-keepalive"}},
		{"own pool is shorter", pool(30 * time.Second), []string{"info idle-pool-timeout"}},
		{"keep-alive shorter than clients'", shortServer(false), []string{"info keepalive-shorter-than-clients"}},
		{"the same, both ends here: told once", shortServer(true), []string{"warning pool-outlives-keepalive"}},
		{"reuse without timestamps", withoutTimestamps("1"), []string{"info client-closes-first", "info tw-reuse-without-timestamps"}},
		{"no reuse, no timestamps", withoutTimestamps("2"), []string{"info client-closes-first"}},
		{"buckets overflow", overflowing(), []string{"warning time-wait-overflow"}},
		{"linger 0, server", lingering(api, event.Server, 5000), []string{"warning linger0-server"}},
		{"linger 0, prober", lingering(probe, event.Client, 0), []string{"info linger0-prober"}},
		{"linger 0, client", lingering(api, event.Client, 5000), []string{"warning linger0-client"}},
		{"unread data", unread(), []string{"warning unread-data"}},
		{"CLOSE_WAIT leak", leak(40, -1), []string{"warning close-wait-leak"}},
		{"CLOSE_WAIT leak, many", leak(600, -1), []string{"critical close-wait-leak"}},
		{"two are no leak", leak(2, -1), nil},
		{"CLOSE_WAIT, slow", leak(40, 45*time.Second), []string{"info close-wait-slow"}},
		{"CLOSE_WAIT, a long request", leak(40, 15*time.Second), nil},
		{"peer never sends FIN", neverFin(), []string{"info peer-never-sends-fin"}},
		{"cut short by RST", cutShort(event.EndReset, 30, 100), []string{"info server-closes-first", "info time-wait-cut-by-rst"}},
		{"cut short by SYN", cutShort(event.EndReusedBySyn, 30, 100), []string{"info server-closes-first", "info time-wait-cut-by-syn"}},
		{"a few RSTs are no habit", cutShort(event.EndReset, 8, 100), []string{"info server-closes-first"}},
		{"a few, and the rest have not run out yet", short(cutShort(event.EndReusedBySyn, 30, 1000)), []string{"info server-closes-first"}},
		{"restarted", restarts, []string{"info keepalive-shorter-than-clients", "info time-wait-restarted"}},
		{"tcp_fin_timeout lowered", withSettings(serverFirst(), "tcp_fin_timeout", "15"), []string{"info server-closes-first", "info fin-timeout-is-not-time-wait"}},
		{"events lost", lossy, []string{"warning trace-incomplete"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := test.world.report(t)
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Severity.String()+" "+f.ID)
				if len(f.Evidence) == 0 || f.Means == "" || len(f.Change) == 0 || f.Title == "" {
					t.Errorf("%s lacks a part: %+v", f.ID, f)
				}
				if f.ID != "tcp-tw-recycle-is-gone" && f.ID != "trace-incomplete" && !strings.HasPrefix(f.Replay, "finwait replay incident.jsonl.zst ") {
					t.Errorf("%s has no command line: %q", f.ID, f.Replay)
				}
				for _, n := range f.Not {
					if !strings.HasPrefix(n, "Do not ") {
						t.Errorf("%s: %q does not say what not to do", f.ID, n)
					}
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("findings:\n got %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestPoolAdvice: a program that is known is told its own settings, and no others.
func TestPoolAdvice(t *testing.T) {
	for _, test := range []struct{ comm, has, lacks string }{
		{"nginx", "proxy_set_header", "Envoy"},
		{"haproxy", "http-reuse", "nginx"},
		{"envoy", "max_requests_per_connection", "HAProxy"},
		{"traefik", "MaxIdleConnsPerHost", "\x00"},
	} {
		if s := poolAdvice(test.comm); !strings.Contains(s, test.has) || strings.Contains(s, test.lacks) {
			t.Errorf("%s: %s", test.comm, s)
		}
	}
}

// TestMate: where both ends are on this host, the finding about the one names the other,
// and the table says which side the TIME_WAITs cost a port.
func TestMate(t *testing.T) {
	w := newWorld(2 * time.Minute)
	w.many(100, 0, time.Second, connection{
		process: api, peerProcess: nginx, role: event.Server, local: "127.0.0.1:8080", peer: "127.0.0.1", closer: event.CloserLocal, method: event.MethodShutdown,
	})
	w.many(100, 0, time.Second, connection{
		process: nginx, peerProcess: api, role: event.Client, local: "127.0.0.1", peer: "127.0.0.1:8080", closer: event.CloserPeer, method: event.MethodFin,
	})
	r := w.report(t)
	if len(r.Findings) != 1 || !slices.Contains(r.Findings[0].Evidence, "The client is nginx, on this host too.") {
		t.Errorf("findings: %+v", r.Findings)
	}
	for _, c := range r.Closers {
		if want := map[string]string{"api": "nginx", "nginx": "api"}[c.Process.Comm]; c.Mate == nil || c.Mate.Comm != want {
			t.Errorf("the peer of %s is %+v", c.Process.Comm, c.Mate)
		}
	}
	if tw := r.TimeWait[0]; tw.Born != 100 || tw.Ports != 0 {
		t.Errorf("%d TIME_WAITs, %d with a port", tw.Born, tw.Ports)
	}
	// A second program at the other end: nobody is named.
	w.many(1, 0, time.Second, connection{
		process: api, peerProcess: probe, role: event.Server, local: "127.0.0.1:8080", peer: "127.0.0.1", closer: event.CloserLocal, method: event.MethodClose,
	})
	if r := w.report(t); r.Closers[0].Mate != nil {
		t.Errorf("one of two was named: %+v", r.Closers[0].Mate)
	}
}

// TestRace: both sides close right after the response, and it is a matter of microseconds
// who is first. The habit is the same.
func TestRace(t *testing.T) {
	w := newWorld(2 * time.Minute)
	c := connection{process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodClose}
	w.many(70, 0, time.Second, c)
	c.closer, c.method, c.peer = event.CloserPeer, event.MethodFin, "10.0.9.1"
	w.many(40, 70*time.Second, time.Second, c)
	f := w.report(t).Findings
	if len(f) != 1 || f[0].ID != "server-closes-first" || !strings.Contains(strings.Join(f[0].Evidence, "\n"), "40 times the peer was as quick") {
		t.Errorf("findings: %+v", f)
	}
	// Peers that take their time are another habit.
	w = newWorld(2 * time.Minute)
	w.many(70, 0, time.Second, connection{process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodClose})
	c.idle = 7 * time.Second
	w.many(40, 70*time.Second, time.Second, c)
	if f := w.report(t).Findings; len(f) != 0 {
		t.Errorf("findings: %+v", f)
	}
}

// TestCrossed: requests that met the FIN of a keep-alive timeout are counted, at either end.
func TestCrossed(t *testing.T) {
	client := keepalive(5 * time.Second)
	c := connection{
		process: api, role: event.Client, local: "10.0.1.1", peer: "10.0.3.7:8080", closer: event.CloserPeer, method: event.MethodFin,
		idle: 5 * time.Second, lived: time.Minute, errno: 32,
	}
	client.many(3, 0, time.Second, c)
	c.method, c.errno, c.idle = event.MethodRst, 104, 0
	client.many(2, 0, time.Second, c)
	f := client.report(t).Findings
	if len(f) != 1 || f[0].ID != "pool-outlives-keepalive" || !slices.Contains(f[0].Evidence, "Requests that this side sent all the same: 3. The peer answered each with an RST; it failed.") ||
		!slices.Contains(f[0].Evidence, "Reset by the peer: 2. So ends a request that comes just before its close().") || len(f[0].Examples) != 3 {
		t.Errorf("the client: %+v", f)
	}
	server := shortServer(false)
	c = connection{
		process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.2", closer: event.CloserLocal, method: event.MethodClose,
		idle: 5 * time.Second, lived: time.Minute, errno: 32,
	}
	server.many(1, 0, time.Second, c)
	c.method, c.unread, c.errno = event.MethodUnreadData, 100, 0
	server.many(6, 0, time.Second, c)
	f = server.report(t).Findings
	if len(f) != 2 || f[0].ID != "keepalive-shorter-than-clients" || f[0].Severity != Warning ||
		!slices.Contains(f[0].Evidence, "Requests that came after this side's close(): 1. Each was answered with an RST.") ||
		f[1].ID != "unread-data" || !strings.Contains(f[1].Change[0], "keep-alive timeout") {
		t.Errorf("the server: %+v", f)
	}
}

// TestReuseAdvice: what the trace knows of timestamps is not left to the reader to find out.
func TestReuseAdvice(t *testing.T) {
	has := func(list []string, what string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, what) })
	}
	f := exhausted().report(t).Findings[0]
	if !has(f.Change, "connections to this peer have them") || has(f.Not, "tcp_tw_reuse") {
		t.Errorf("with timestamps: %+v", f)
	}
	w := withoutTimestamps("2")
	w.refuse(time.Minute, api, "10.0.3.7:8080")
	f = w.report(t).Findings[0]
	if has(f.Change, "tcp_tw_reuse") || !has(f.Not, "do not negotiate") {
		t.Errorf("without timestamps: %+v", f)
	}
	w = newWorld(time.Minute)
	w.refuse(time.Second, api, "10.0.3.7:8080")
	f = w.report(t).Findings[0]
	if !has(f.Change, "If the peer negotiates TCP timestamps") {
		t.Errorf("not known: %+v", f)
	}
}

// TestReuseLasts: a port range that is full is no trouble where connect() takes ports over from
// TIME_WAIT, unless they are asked for faster than it may.
func TestReuseLasts(t *testing.T) {
	reusing := func(every time.Duration) *Report {
		w := newWorld(time.Minute, "ip_local_port_range", "32768 33767", "tcp_tw_reuse", "1", "tcp_tw_reuse_delay", "1000")
		for i := range 2000 {
			c := connection{
				process: api, role: event.Client, local: fmt.Sprintf("10.0.0.4:%d", 32768+i%1000), peer: "10.0.3.7:8080", closer: event.CloserLocal,
				method: event.MethodClose, closed: time.Duration(i) * every,
			}
			if i < 1000 {
				c.end, c.timeWait = event.EndReusedByConnect, 1000*every-20*time.Millisecond
			}
			w.connect(c)
		}
		w.length = 2000 * every
		return w.report(t)
	}
	r := reusing(2500 * time.Microsecond)
	if p := r.Ports[0]; p.Reused != 1000 || p.PeakShare() < 0.9 || p.Outlook() != "lasts, by reuse" {
		t.Errorf("%d reused, %v of the range, %s", p.Reused, p.PeakShare(), p.Outlook())
	}
	for _, f := range r.Findings {
		if f.ID == "ports-nearly-exhausted" {
			t.Errorf("finding: %+v", f)
		}
	}
	if p := reusing(500 * time.Microsecond).Ports[0]; p.ByReuse {
		t.Errorf("2000 a second out of 1000 ports: %s", p.Outlook())
	}
}

// TestOutlookFailing: where connects fail, they are not about to: connections that stay
// open hold the few ports that the trace shows free.
func TestOutlookFailing(t *testing.T) {
	w := newWorld(30*time.Second, "ip_local_port_range", "32768 33767")
	w.many(995, 0, 20*time.Millisecond, connection{
		process: nginx, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose,
	})
	w.refuse(25*time.Second, nginx, "10.0.3.7:8080")
	r := w.report(t)
	if p := r.Ports[0]; p.FailsIn == nil || *p.FailsIn != 0 || p.Outlook() != "fails now" {
		t.Errorf("fails in %v: %s", p.FailsIn, p.Outlook())
	}
}

// TestUnreadProxy: a proxy does not read a response that nobody waits for any more. It is not
// to be told to read it.
func TestUnreadProxy(t *testing.T) {
	w := newWorld(time.Minute)
	w.many(12, 0, time.Second, connection{
		process: nginx, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodUnreadData, unread: 400,
	})
	if f := w.report(t).Findings; len(f) != 1 || !strings.Contains(f[0].Change[0], "Read responses to their end") {
		t.Errorf("a client: %+v", f)
	}
	w.many(12, 0, time.Second, connection{
		process: nginx, role: event.Server, local: "10.0.0.4:80", peer: "192.0.2.9", closer: event.CloserPeer, method: event.MethodFin,
	})
	if f := w.report(t).Findings; len(f) != 1 || !strings.Contains(f[0].Change[0], "499") {
		t.Errorf("a proxy: %+v", f)
	}
}
