// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"finwait/tracer/event"
)

const keepaliveConf = `http {
    access_log off;
    error_log nginx-error.log info;
    keepalive_timeout TIMEOUT;
    server {
        listen 80;
        location / {
            return 200 "done\n";
        }
    }
}
`

// TestKeepaliveRace: the server's keep-alive timeout is shorter than the client's pool: rare
// resets that nobody can reproduce.
func TestKeepaliveRace(t *testing.T) {
	needs(t, "nginx")
	n := newNetwork(t)
	p := n.page("keepalive-shorter-than-pool")
	client := n.host("client")
	web := n.host("web")
	n.client("pooled")
	n.write("before.conf", strings.Replace(keepaliveConf, "TIMEOUT", "2s", 1))
	n.write("after.conf", strings.Replace(keepaliveConf, "TIMEOUT", "75s", 1))
	errors := func(s shown) (n int) {
		lines := strings.Split(strings.TrimSpace(s.out), "\n")
		var good int
		if _, err := fmt.Sscanf(lines[len(lines)-1], "%d responses, %d errors", &good, &n); err != nil {
			t.Fatalf("%s: %s", s.line, s.out)
		}
		return n
	}

	nginx := web.nginx(80, "before.conf")
	recClient, recServer := client.record("client"), web.record("server")
	unread := -web.counter("TCPAbortOnClose")
	bad := client.sh("./pooled -services 600 -requests 4 -every 2001ms -jitter 1ms http://10.0.0.2/")
	web.idle(80)
	client.settled()
	unread += web.counter("TCPAbortOnClose")
	atClient, atServer := recClient.stop(), recServer.stop()
	nginx.quit()

	failed := errors(bad)
	// What both ends have seen. Where Go's client learns of the FIN between choosing the connection and writing to
	// it, the request fails and nothing is sent.
	epipe := atClient.count(func(r *event.Transition) bool {
		return r.Old == event.CloseWait && r.New == event.Close && r.Errno != 0
	})
	reset := atClient.count(func(r *event.Transition) bool { return r.Old == event.Established && r.Method == event.MethodRst })
	if epipe+reset == 0 || epipe+reset > failed {
		t.Errorf("%d requests met a FIN, %d were reset, and %d failed", epipe, reset, failed)
	}
	t.Logf("%d failed: %d met a FIN, %d were not read", failed, epipe, reset)
	// The answer to such a request is an RST, and no TIME_WAIT then follows nginx's FIN.
	late := atServer.count(func(r *event.Transition) bool {
		return r.Closer == event.CloserLocal && r.New == event.Close && (r.Old == event.FinWait1 || r.Old == event.FinWait2)
	})
	early := atServer.count(func(r *event.Transition) bool { return r.Call == event.MethodUnreadData })
	web.agree("requests that met nginx's FIN, at either end", late, epipe)
	web.agree("requests that nginx did not read, at either end", early, reset)
	web.agree("closed with data unread, by the kernel", early, unread)
	for _, r := range atServer.first(by("nginx", event.CloserLocal)) {
		if r.Method != event.MethodClose {
			continue
		}
		if r.Idle < 1900*time.Millisecond || r.Idle > 4*time.Second {
			t.Errorf("idle for %v before nginx's FIN, want 2 s", r.Idle)
		}
	}
	found1 := finding(atClient.added(), "pool-outlives-keepalive")
	if len(found1) != 1 || !strings.Contains(found1[0].Title, "after 2 s") && !strings.Contains(found1[0].Title, "after 2.0 s") {
		t.Errorf("the client's findings: %+v", found1)
	}
	found2 := finding(atServer.added(), "keepalive-shorter-than-clients")
	if len(found2) != 1 || !strings.Contains(found2[0].Title, "nginx") {
		t.Errorf("the server's findings: %+v", found2)
	}

	nginx = web.nginx(80, "after.conf")
	told := strings.Count(n.read("nginx-error.log"), "closed keepalive connection")
	recClient = client.record("after")
	good := client.sh("./pooled -services 600 -requests 4 -every 2001ms -jitter 1ms -idle-timeout 1s http://10.0.0.2/")
	web.idle(80)
	client.settled()
	after := recClient.stop()
	nginx.quit()
	told = strings.Count(n.read("nginx-error.log"), "closed keepalive connection") - told
	if errors(good) > 0 {
		t.Errorf("after the change: %s", good.out)
	}
	local := after.first(by("pooled", event.CloserLocal))
	web.agree("closed first by the client, by nginx's error log", len(local), told)
	if peer := after.first(by("pooled", event.CloserPeer)); len(peer) > 0 {
		t.Errorf("nginx still closes %d connections first", len(peer))
	}
	findings := after.added().Findings
	if len(findings) != 1 || findings[0].ID != "idle-pool-timeout" || findings[0].Severity.String() != "info" {
		t.Errorf("after the change: %+v", findings)
	}

	p.show("see", bad, matching("responses"))
	p.file("conf", "nginx", n.read("before.conf"))
	p.show("record", atClient.recorded())
	out := atClient.report()
	p.show("client", out, found("pool-outlives-keepalive", "Reset by the peer"))
	p.show("idle", client.sh(`finwait replay client.jsonl.zst --closer peer --method fin -o json |
  jq -r 'select(.old_state == "ESTABLISHED") | "idle for \(.idle_ns / 1e8 | round / 10) s"' | sort | uniq -c | sort -rn | head -1`))
	p.show("record2", atServer.recorded())
	p.show("server", atServer.report(), found("keepalive-shorter-than-clients", "Closed with data unread"))
	p.show("change", web.try("diff -U1 --label before.conf --label after.conf before.conf after.conf"))
	p.show("after", good)
	p.show("after", web.sh("grep -m1 'closed keepalive connection' nginx-error.log"))
	p.show("after", after.report(), found("idle-pool-timeout"))
	p.figure("failed", failed)
	p.figure("epipe", epipe)
	p.figure("reset", reset)
	p.figure("rest", failed-epipe-reset)
	p.figure("told", told)
	p.finish()
}

// by selects the connections of a program that one side closed first.
func by(comm string, closer event.Closer) func(*event.Transition) bool {
	return func(r *event.Transition) bool { return r.Process.Comm.String() == comm && r.Closer == closer }
}
