// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"strings"
	"testing"
)

const keepaliveConf = `http {
    access_log off;
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
	nginx := web.nginx(80, "before.conf")
	rec := client.record("client")
	srv := web.record("server")
	out := client.sh("./pooled -workers 300 -rounds 2 -every 2001ms -jitter 1ms http://10.0.0.2/")
	tr, trs := rec.stop(), srv.stop()
	nginx.quit()
	t.Log(out.out, tr.report().out, trs.report().out)
	client.sh("cp client.jsonl.zst /tmp/c5-client.jsonl.zst; cp server.jsonl.zst /tmp/c5-server.jsonl.zst")
	_ = p
}
