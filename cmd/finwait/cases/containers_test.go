// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"strings"
	"testing"

	"finwait/tracer/event"
)

// TestContainers: the same program in two containers, one on the host's network and one behind
// NAT: closes are put down to the right one.
func TestContainers(t *testing.T) {
	needs(t, "podman", "crun", "iptables", "haproxy", "unshare", "curl")
	n := newNetwork(t)
	p := n.page("containers")
	node := n.host("node")
	web := n.host("web")
	n.write("haproxy.cfg", strings.NewReplacer("OPTIONS\n", "", ":80\n", ":8088\n").Replace(balancerConf))
	web.haproxy(8088, "haproxy.cfg")
	podman := node.podman()
	podman.image("loadtest")

	// Containers have namespaces of their own, made while the trace runs: so it is one of the whole
	// machine, and a port of the service tells what is of interest.
	rec := node.record("node", "-D 8088")
	counts := map[string]int{"one": 100, "two": 250}
	ids := map[string]string{}
	out := map[string]shown{}
	run := func(name, network string) {
		out[name] = podman.sh(fmt.Sprintf("podman run --privileged --name %s --cidfile %s.id%s loadtest /loadtest -n %d http://10.0.0.2:8088/", name, name, network, counts[name]))
		ids[name] = strings.TrimSpace(podman.sh("podman inspect -f '{{.Id}}' " + name).out)
	}
	born := -node.counter("TW")
	run("one", " --network host")
	run("two", "")
	born += node.counter("TW")
	// The bridged one's namespace goes with it, and so do its TIME_WAITs: within the second that finwait may take to write.
	gone := func() string {
		return strings.TrimSpace(node.sh("finwait replay node.jsonl.zst --container " + ids["two"] + " --log-level error --no-header | grep -c 'TIME_WAIT → CLOSE' || true").out)
	}
	await(t, "the end of the bridged container's TIME_WAITs", func() bool { return gone() == fmt.Sprint(counts["two"]) })
	tr := rec.stop()

	// What HAProxy has served, what podman calls the containers, and what the host's kernel counts in its own namespace.
	stats := web.sh("curl -s 'http://10.0.0.2:8404/;csv' | cut -d, -f 1,8,41 | head -2")
	if want := fmt.Sprintf("\nweb,%d,%d\n", counts["one"]+counts["two"], counts["one"]+counts["two"]); !strings.Contains(stats.out, want) {
		t.Errorf("HAProxy counts %s", stats.out)
	}
	node.agree("TIME_WAITs in the host's namespace, by the kernel", len(tr.first(in(ids["one"]))), born)
	for name, id := range ids {
		if len(id) != 64 {
			t.Fatalf("podman calls container %s %q", name, id)
		}
		list := tr.first(in(id))
		if len(list) != counts[name] {
			t.Errorf("container %s: %d connections closed, want %d", name, len(list), counts[name])
		}
		local := map[string]string{"one": "10.0.0.1", "two": "10.88.0."}[name]
		for _, r := range list {
			if r.Closer != event.CloserLocal || r.Process.Comm.String() != "loadtest" || !strings.HasPrefix(r.Local.Addr().String(), local) ||
				!strings.HasSuffix(r.Process.Cgroup, "/libpod-"+id) {
				t.Fatalf("container %s: %+v", name, r)
			}
		}
		// The other end is on this machine; behind NAT it cannot be told which it is, and nobody is named.
		for _, r := range list {
			if mate := r.PeerProcess.Comm.String(); name == "one" && mate != "haproxy" || name == "two" && r.PeerProcess.Known() {
				t.Fatalf("container %s: the other end is put down to %q", name, mate)
			}
		}
	}
	if rest := tr.first(func(r *event.Transition) bool {
		return r.Process.Container != ids["one"] && r.Process.Container != ids["two"]
	}); len(rest) > 0 {
		t.Errorf("%d connections of no container: %+v", len(rest), rest[0])
	}
	ended := tr.count(func(r *event.Transition) bool { return r.TimeWait != nil && r.TimeWait.End == event.EndNamespaceExit })
	if ended != counts["two"] {
		t.Errorf("%d TIME_WAITs ended with a namespace, want %d", ended, counts["two"])
	}

	p.show("record", tr.recorded())
	p.show("run", out["one"])
	p.show("run", out["two"])
	p.show("run", podman.sh("podman ps --all --no-trunc --format '{{.ID}} {{.Names}}' | sort -k 2"))
	p.show("who", tr.report(), section("Who closed first?", "PROCESS|@"))
	p.show("count", node.sh(`finwait replay node.jsonl.zst -o json |
  jq -r 'select(.old_state == "ESTABLISHED") | [.process.comm, .process.container.id, .closer, .peer_process.comm // "-"] | @tsv' | sort | uniq -c | sort -n`))
	p.show("one", node.sh("finwait replay node.jsonl.zst --container $(cut -c 1-12 two.id) --view closes | head -3"))
	p.show("gone", node.sh(`finwait replay node.jsonl.zst -o json |
  jq -r 'select(.time_wait) | [.process.container.id[:12], .time_wait.end_reason] | @tsv' | sort | uniq -c`))
	p.finish()
}

// in selects the connections of a container.
func in(id string) func(*event.Transition) bool {
	return func(r *event.Transition) bool { return r.Process.Container == id }
}
