// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"strings"
	"testing"

	"finwait/tracer/event"
)

// proxyConf is nginx in front of an application server. UPSTREAM and LOCATION are what the
// cases are about.
const proxyConf = `http {
    access_log off;
    upstream app {
        server 10.0.0.3:8080;
UPSTREAM    }
    server {
        listen 80;
        location / {
            proxy_pass http://app;
LOCATION        }
    }
}
`

// proxied writes nginx's configuration, with the lines of the upstream and of the location.
func (n *network) proxied(name, upstream, location string) string {
	indented := func(indent, text string) string {
		if text == "" {
			return ""
		}
		return indent + strings.ReplaceAll(text, "\n", "\n"+indent) + "\n"
	}
	n.write(name, strings.NewReplacer("UPSTREAM", indented("        ", upstream), "LOCATION", indented("            ", location)).Replace(proxyConf))
	return name
}

// TestPoolTooSmall: nginx keeps fewer idle upstream connections than it needs, closes
// the surplus itself, and runs out of local ports.
func TestPoolTooSmall(t *testing.T) {
	needs(t, "nginx", "ab", "java")
	n := newNetwork(t)
	p := n.page("pool-too-small")
	client := n.host("client")
	// Two thousand ports are as good as 28,232 to run out of, and it does not take a minute.
	proxy := n.host("proxy", "ip_local_port_range=40000 41999")
	app := n.host("app")
	app.tomcat("8080", `maxKeepAliveRequests="-1"`)

	http11 := "proxy_http_version 1.1;\nproxy_set_header Connection \"\";"
	n.proxied("before.conf", "keepalive 2;", http11)
	n.proxied("after.conf", "keepalive 64;", http11)
	const load = "ab -q -l -k -n 15000 -c 64 http://10.0.0.2/"

	nginx := proxy.nginx(80, "before.conf")
	rec := proxy.record("before")
	born := -proxy.counter("TW")
	bad := client.sh(load)
	proxy.idle(80)
	born += proxy.counter("TW")
	before := rec.stop()
	logged := proxy.sh("grep -c 'Cannot assign requested address' nginx-error.log")
	sample := proxy.sh("grep -m1 'Cannot assign requested address' nginx-error.log")
	socks := proxy.sh("ss -Htan state time-wait dst 10.0.0.3:8080 | wc -l")
	nginx.quit()

	said := strings.Count(n.read("nginx-error.log"), "connect() to 10.0.0.3:8080 failed (99: Cannot assign requested address) while connecting to upstream")
	if said == 0 {
		t.Errorf("nginx did not run out of ports: %s", n.read("nginx-error.log"))
	}
	for _, f := range before.failures {
		if event.ErrnoName(f.Errno) != "EADDRNOTAVAIL" || f.Process.Comm.String() != "nginx" || f.Peer.String() != "10.0.0.3:8080" {
			t.Errorf("connect error %+v", f)
		}
	}
	proxy.agree("connects without a port, by nginx's error log", len(before.failures), said)
	proxy.agree("TIME_WAITs, by the kernel", before.timeWaits(), born)
	local := len(before.first(upstream("nginx", event.CloserLocal)))
	if peer := len(before.first(upstream("nginx", event.CloserPeer))); local < 1000 || peer*20 > local {
		t.Errorf("nginx closed %d connections first, Tomcat %d", local, peer)
	}
	added := before.added()
	for _, id := range []string{"ports-exhausted", "client-closes-first"} {
		f := finding(added, id)
		if len(f) != 1 || !strings.Contains(f[0].Title, "nginx") || !strings.Contains(f[0].Title, "10.0.0.3:8080") {
			t.Errorf("%s: %+v", id, f)
		}
	}
	if b := added.Ports[0]; b.Capacity != 2000 || b.PeakShare() < 0.99 || b.Failed != uint64(len(before.failures)) {
		t.Errorf("port budget %+v", b)
	}

	// The same load, with room for every connection that is in use at a time. The ports
	// that the first run has spent are still in TIME_WAIT: half of them have to do.
	proxy.sysctl("ip_local_port_range=42000 43999")
	nginx = proxy.nginx(80, "after.conf")
	rec = proxy.record("after")
	born = -proxy.counter("TW")
	good := client.sh(load)
	proxy.idle(80)
	born += proxy.counter("TW")
	after := rec.stop()
	nginx.quit()

	if len(after.failures) > 0 || strings.Count(n.read("nginx-error.log"), "failed (99") > said {
		t.Errorf("connects still fail: %d", len(after.failures))
	}
	proxy.agree("TIME_WAITs after the change, by the kernel", after.timeWaits(), born)
	kept := len(after.first(upstream("nginx", event.CloserLocal)))
	if kept*20 > local || strings.Contains(good.out, "Non-2xx") {
		t.Errorf("nginx still closes %d connections first: %s", kept, good.out)
	}
	added = after.added()
	for _, f := range added.Findings {
		t.Errorf("after the change: %s", f.Title)
	}

	p.file("upstream", "nginx", n.read("before.conf"))
	p.show("see", bad, matching(`^(Complete|Non-2xx)`))
	p.show("see", logged)
	p.show("see", sample)
	p.show("ss", socks)
	p.show("record", before.recorded())
	out := before.report()
	p.show("who", out, section("Who closed first?", "PROCESS|client"), section("How much of the port range is left?", "."))
	p.show("findings", out, found("ports-exhausted"), found("client-closes-first"))
	p.show("change", proxy.try("diff -U1 --label before.conf --label after.conf before.conf after.conf"))
	p.show("after", good, matching(`^(Complete|Non-2xx)`))
	out = after.report()
	p.show("after", out, section("Who closed first?", "."), section("How much of the port range is left?", "."), section("Findings", "."))
	p.figure("failed", len(before.failures))
	p.figure("local", local)
	p.figure("kept", kept)
	p.finish()
}

// upstream selects the connections of a proxy to its upstreams that one side closed first.
func upstream(comm string, closer event.Closer) func(*event.Transition) bool {
	return func(r *event.Transition) bool {
		return r.Role == event.Client && r.Closer == closer && r.Process.Comm.String() == comm
	}
}
