// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"strings"
	"testing"
)

// TestContainers: the same program in two containers, one on the host's network and one behind
// NAT: closes are put down to the right one.
func TestContainers(t *testing.T) {
	needs(t, "podman", "haproxy", "iptables", "unshare")
	n := newNetwork(t)
	p := n.page("containers")
	node := n.host("node")
	web := n.host("web")
	n.write("haproxy.cfg", strings.NewReplacer("OPTIONS\n", "", ":80\n", ":8088\n").Replace(balancerConf))
	haproxy := web.haproxy(8088, "haproxy.cfg")
	podman := node.podman()
	podman.image("loadtest")
	rec := node.record("containers", node, web)
	one := podman.sh("podman run --privileged --cidfile one.id --network host loadtest /loadtest -n 100 http://10.0.0.2:8088/")
	two := podman.sh("podman run --privileged --cidfile two.id loadtest /loadtest -n 200 http://10.0.0.2:8088/")
	tr := rec.stop()
	t.Log(one.out, two.out, n.read("one.id"), n.read("two.id"), tr.report().out)
	t.Log(node.sh("finwait replay containers.jsonl.zst -o json | jq -r '[.old_state,.new_state,.process.comm,.process.container.id,.process.cgroup,.local.address,.peer_process.comm,.time_wait.end_reason]|@tsv' | sort | uniq -c").out)
	haproxy.kill()
	_ = p
}
