// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"strings"
	"testing"

	"finwait/tracer/event"
)

// TestTimeWaitOnTomcat: nginx says `Connection: close` to its upstream, and so Tomcat closes
// first. Both are on one host, as they often are.
func TestTimeWaitOnTomcat(t *testing.T) {
	needs(t, "nginx", "ab", "java")
	n := newNetwork(t)
	p := n.page("time-wait-on-tomcat")
	client := n.host("client")
	web := n.host("web")
	tomcat := web.tomcat("8080", "")
	toLocal := func(name string) {
		n.write(name, strings.ReplaceAll(n.read(name), "10.0.0.3:8080", "127.0.0.1:8080"))
	}
	toLocal(n.proxied("before.conf", "", ""))
	toLocal(n.proxied("after.conf", "keepalive 32;", "proxy_http_version 1.1;\nproxy_set_header Connection \"\";"))
	const load = "ab -q -k -n 2000 -c 16 http://10.0.0.2/"

	nginx := web.nginx(80, "before.conf")
	rec := web.record("before")
	born := -web.counter("TW")
	bad := client.sh(load)
	web.idle(80)
	web.idle(8080)
	born += web.counter("TW")
	before := rec.stop()
	socks := web.sh("ss -Htan state time-wait | awk '{print $4}' | sort | uniq -c")
	asked := web.sh("cut -d' ' -f7- tomcat/logs/access.log | sort | uniq -c")
	rows := web.sh("finwait replay before.jsonl.zst -D 8080 --no-header | head -2")
	_, _, _, _, _, _ = nginx, tomcat, bad, socks, asked, rows
	t.Log(bad.out, socks.out, asked.out, rows.out, before.report().out)
	t.Log(web.sh("finwait replay before.jsonl.zst -L 8080 | head -12; finwait replay before.jsonl.zst -D 8080 | head -12; head -3 tomcat/logs/access.log").out)
	_ = born
	_ = event.CloserLocal
	_ = p
}
