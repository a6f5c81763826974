// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"strings"
	"testing"

	"finwait/tracer/event"
)

const balancerConf = `global
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
OPTIONS
frontend web
    bind :80
    http-request return status 200 content-type text/plain string "hello"
frontend stats
    bind :8404
    stats enable
    stats uri /
`

// TestReuseWithoutTimestamps: a load generator runs out of ports in spite of tcp_tw_reuse=1, for the
// load balancer has TCP timestamps switched off.
func TestReuseWithoutTimestamps(t *testing.T) {
	needs(t, "haproxy", "curl")
	n := newNetwork(t)
	p := n.page("reuse-without-timestamps")
	client := n.host("client", "tcp_tw_reuse=1")
	lb := n.host("lb", "tcp_timestamps=0")
	n.client("loadtest")
	n.write("haproxy.cfg", strings.Replace(balancerConf, "OPTIONS\n", "", 1))
	n.write("httpclose.cfg", strings.Replace(balancerConf, "OPTIONS", "    option httpclose", 1))
	const requests = 1500
	const stats = "curl -s 'http://10.0.0.2:8404/;csv' | cut -d, -f 1,8,41 | head -2"

	// A thousand ports for each run, and none that an earlier one has spent.
	type result struct {
		*trace
		out, stats shown
		errors     int
		kernel     map[string]int // what the client's counters went up by
		lb         int            // TIME_WAITs of the load balancer
	}
	run := func(name, conf string, ports int, load string) (r result) {
		client.sysctl(fmt.Sprintf("ip_local_port_range=%d %d", ports, ports+999))
		haproxy := lb.haproxy(80, conf)
		names := []string{"TW", "TWRecycled", "TCPAbortOnData"}
		r.kernel = map[string]int{}
		for _, c := range names {
			r.kernel[c] = -client.counter(c)
		}
		r.lb = -lb.counter("TW")
		rec := client.record(name)
		r.out = client.sh(load)
		lb.idle(80)
		client.settled()
		r.trace = rec.stop()
		r.lb += lb.counter("TW")
		for _, c := range names {
			r.kernel[c] += client.counter(c)
		}
		r.stats = lb.sh(stats)
		haproxy.kill()

		lines := strings.Split(strings.TrimSpace(r.out.out), "\n")
		responses := 0
		if _, err := fmt.Sscanf(lines[len(lines)-1], "%d responses, %d errors", &responses, &r.errors); err != nil || responses+r.errors != requests {
			t.Fatalf("%s: %s", load, r.out.out)
		}
		// What HAProxy has counted: sessions, and responses with 200.
		if want := fmt.Sprintf("\nweb,%d,%d\n", responses, responses); !strings.Contains(r.stats.out, want) {
			t.Errorf("%s: %d responses, and HAProxy counts %s", name, responses, r.stats.out)
		}
		client.agree(name+": connections, by HAProxy", len(r.first(nil)), responses)
		// Go's net package tries three times before it gives up on EADDRNOTAVAIL.
		client.agree(name+": connects that failed, by the client", len(r.failures), 3*r.errors)
		client.agree(name+": taken over by connect(), by the kernel", r.reused(), r.kernel["TWRecycled"])
		return r
	}

	const load = "./loadtest -rate 2000 -n 1500 http://10.0.0.2/"
	before := run("before", "haproxy.cfg", 40000, load)
	if before.errors == 0 || before.kernel["TWRecycled"] != 0 {
		t.Errorf("%d errors, %d taken over", before.errors, before.kernel["TWRecycled"])
	}
	for _, r := range before.first(nil) {
		if r.Timestamps != 0 || r.Closer != event.CloserLocal || r.Process.Comm.String() != "loadtest" {
			t.Fatalf("timestamps %d, closed first by %v of %v", r.Timestamps, r.Closer, r.Process.Comm)
		}
	}
	added := before.added()
	for _, id := range []string{"ports-exhausted", "client-closes-first", "tw-reuse-without-timestamps"} {
		if f := finding(added, id); len(f) != 1 || !strings.Contains(f[0].Title, "loadtest") || !strings.Contains(f[0].Title, "10.0.0.2:80") {
			t.Errorf("%s: %+v", id, f)
		}
	}

	// At most as many connections a second as there are ports: reuse needs a second.
	const slower = "./loadtest -rate 400 -n 1500 http://10.0.0.2/"
	lb.sysctl("tcp_timestamps=1")
	with := run("timestamps", "haproxy.cfg", 42000, slower)
	lb.sysctl("tcp_timestamps=0")
	if with.errors > 0 || with.kernel["TWRecycled"] < requests/3-5 {
		t.Errorf("with timestamps: %d errors, %d taken over", with.errors, with.kernel["TWRecycled"])
	}
	if f := finding(with.added(), "tw-reuse-without-timestamps"); len(f) > 0 {
		t.Errorf("with timestamps: %+v", f)
	}

	closes := run("closes", "httpclose.cfg", 44000, load)
	if closes.errors > 0 || closes.kernel["TW"]*4 > requests || closes.lb*4 < requests*3 {
		t.Errorf("HAProxy closes: %d errors, %d TIME_WAITs at the client, %d at HAProxy", closes.errors, closes.kernel["TW"], closes.lb)
	}
	for _, id := range []string{"ports-exhausted", "client-closes-first"} {
		if f := finding(closes.added(), id); len(f) > 0 {
			t.Errorf("HAProxy closes: %+v", f)
		}
	}

	linger := run("linger", "haproxy.cfg", 46000, "./loadtest -linger0 -rate 2000 -n 1500 http://10.0.0.2/")
	client.agree("SO_LINGER 0, by the kernel", len(linger.first(func(r *event.Transition) bool { return r.Method == event.MethodLinger0 })), linger.kernel["TCPAbortOnData"])
	if linger.errors > 0 || linger.kernel["TW"] > 0 {
		t.Errorf("SO_LINGER 0: %d errors, %d TIME_WAITs", linger.errors, linger.kernel["TW"])
	}
	if f := linger.added().Findings; len(f) != 1 || f[0].ID != "linger0-prober" {
		t.Errorf("SO_LINGER 0: %+v", f)
	}

	p.show("see", before.out)
	p.show("see", client.sh("sysctl net.ipv4.tcp_tw_reuse net.ipv4.tcp_timestamps"))
	p.show("record", before.recorded())
	out := before.report()
	p.show("who", out, section("Who closed first?", "."), section("How much of the port range is left?", "."))
	p.show("finding", out, found("tw-reuse-without-timestamps"))
	p.show("filter", client.sh(`finwait replay before.jsonl.zst -o json |
  jq -r 'select(.new_state == "TIME_WAIT") | "\(.process.comm) to \(.peer.address), timestamps: \(.timestamps)"' | sort | uniq -c`), matching("false"))
	p.show("timestamps", shown{host: lb, line: "sysctl -w net.ipv4.tcp_timestamps=1"})
	p.show("timestamps", with.out)
	out = with.report()
	p.show("timestamps", out, section("What did TIME_WAIT cost?", "began|Ended"), section("How much of the port range is left?", "."))
	p.show("httpclose", lb.try("diff -U1 --label haproxy.cfg --label httpclose.cfg haproxy.cfg httpclose.cfg"))
	p.show("closes", closes.out)
	out = closes.report()
	p.show("closes", out, section("What did TIME_WAIT cost?", "began"))
	p.show("linger", linger.out)
	p.show("linger", linger.stats)
	out = linger.report()
	p.show("linger", out, section("Who closed first?", "."), section("Findings", "^$"), found("linger0-prober"))
	p.figure("errors", before.errors)
	p.figure("reused", with.kernel["TWRecycled"])
	p.figure("client", closes.kernel["TW"])
	p.figure("lb", closes.lb)
	p.figure("aborts", linger.kernel["TCPAbortOnData"])
	p.finish()
}
