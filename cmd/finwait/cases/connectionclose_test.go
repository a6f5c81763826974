// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"strconv"
	"strings"
	"testing"

	"finwait/tracer/event"
)

// TestTimeWaitOnTomcat: nginx says `Connection: close` to its upstream, and so Tomcat closes
// first. Both are on one host, as they often are.
func TestTimeWaitOnTomcat(t *testing.T) {
	needs(t, "nginx", "curl", "java")
	n := newNetwork(t)
	p := n.page("time-wait-on-tomcat")
	client := n.host("client")
	web := n.host("web")
	web.tomcat("8080", "")
	local := func(name string) {
		n.write(name, strings.ReplaceAll(n.read(name), "10.0.0.3:8080", "127.0.0.1:8080"))
	}
	local(n.proxied("before.conf", "", ""))
	local(n.proxied("after.conf", "keepalive 32;", "proxy_http_version 1.1;\nproxy_set_header Connection \"\";"))
	const requests = 1500
	load := "curl -fZ --no-progress-meter --parallel-max 16 -o /dev/null 'http://10.0.0.2/page.jsp?[1-" + strconv.Itoa(requests) + "]'"
	// Who asked for what, by Tomcat's own log, and where the TIME_WAITs are, by the kernel's table.
	const asked = "awk '{print $4, $6}' tomcat/logs/access.log | sort | uniq -c"
	const bySide = "ss -Htan state time-wait sport = :8080 | wc -l; ss -Htan state time-wait dport = :8080 | wc -l"

	web.sh("curl -sf http://127.0.0.1:8080/page.jsp | tail -1 && : >tomcat/logs/access.log") // compiles it
	run := func(name string) (tr *trace, born int) {
		nginx := web.nginx(80, name+".conf")
		rec := web.record(name)
		born = -web.counter("TW")
		client.sh(load)
		web.idle(80)
		if name == "before" {
			web.idle(8080)
		}
		born += web.counter("TW")
		tr = rec.stop()
		if name == "before" {
			p.show("see", shown{host: client, line: load})
			p.show("see", web.sh(bySide))
			p.show("asked", web.sh("tail -1 tomcat/logs/access.log"))
		}
		nginx.quit()
		return tr, born
	}

	before, born := run("before")
	access := n.read("tomcat/logs/access.log")
	if closes := strings.Count(access, "HTTP/1.0\" 200 close\n"); closes != requests {
		t.Errorf("%d requests of %d said `Connection: close`: %s", closes, requests, access[:200])
	}
	web.agree("TIME_WAITs, by the kernel", before.timeWaits(), born)
	sides := strings.Fields(web.sh(bySide).out)
	for i, comm := range []string{"java", "nginx"} {
		listed, err := strconv.Atoi(sides[i])
		if err != nil {
			t.Fatal(err)
		}
		web.agree("TIME_WAITs of "+comm+", by ss", before.open(comm), listed)
	}
	first := before.first(func(r *event.Transition) bool {
		return r.Role == event.Server && r.Local.Port() == 8080 && r.Closer == event.CloserLocal
	})
	if len(first) < requests*9/10 {
		t.Errorf("Tomcat closed %d of %d connections first", len(first), requests)
	}
	for _, r := range first {
		if r.Process.Comm.String() != "java" || r.PeerProcess.Comm.String() != "nginx" || r.Method != event.MethodShutdown {
			t.Errorf("closed first by %v (%v), the peer is %v", r.Process.Comm, r.Method, r.PeerProcess.Comm)
		}
	}
	added := before.added()
	if tw := added.TimeWait[0]; tw.Ports*5 > tw.Born {
		t.Errorf("%d of %d TIME_WAITs keep a port", tw.Ports, tw.Born)
	}
	if f := finding(added, "server-closes-first"); len(f) != 1 || !strings.Contains(f[0].Title, "java") || !strings.Contains(strings.Join(f[0].Evidence, " "), "The client is nginx, on this host too") {
		t.Errorf("findings %+v", added.Findings)
	}

	after, born := run("after")
	web.agree("TIME_WAITs after the change, by the kernel", after.timeWaits(), born)
	access = strings.TrimPrefix(n.read("tomcat/logs/access.log"), access)
	if kept := strings.Count(access, "HTTP/1.1\" 200 -\n"); kept != requests {
		t.Errorf("%d requests of %d kept the connection", kept, requests)
	}
	// Tomcat closes a connection after its hundredth request.
	if left := after.timeWaits(); left > requests/100+2 {
		t.Errorf("%d TIME_WAITs after the change", left)
	}
	for _, f := range after.added().Findings {
		t.Errorf("after the change: %s", f.Title)
	}

	p.file("location", "nginx", n.read("before.conf"))
	p.show("record", before.recorded())
	out := before.report()
	p.show("who", out, section("Who closed first?", "PROCESS|java.* server"), section("What did TIME_WAIT cost?", "began|port"), section("How much of the port range is left?", "."))
	p.show("ends", web.sh(`finwait replay before.jsonl.zst -L 8080 -o json |
  jq -r 'select(.old_state == "ESTABLISHED") | [.process.comm, .closer, .method, .peer_process.comm] | @tsv' | sort | uniq -c | sort -rn | head -1`))
	p.show("finding", out, found("server-closes-first", "Both close as soon"))
	p.show("change", web.try("diff -U1 --label before.conf --label after.conf before.conf after.conf"))
	out = after.report()
	p.show("after", out, section("What did TIME_WAIT cost?", "began"), section("Findings", "."))
	p.show("logged", web.sh(asked))
	p.figure("requests", requests)
	p.figure("left", after.timeWaits())
	p.finish()
}
