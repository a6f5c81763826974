// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// TestTimeWait: what is said of TIME_WAIT, and what this kernel does.
func TestTimeWait(t *testing.T) {
	needs(t, "ss")
	t.Parallel() // it waits for the whole minute
	n := newNetwork(t)
	p := n.page("time-wait")
	tick, err := tracer.Tick()
	if err != nil {
		t.Fatal(err)
	}
	l := n.lab("lab", workload.Options{FinTimeout: 5 * time.Second})
	rec := l.record("minute")
	born := -l.counter("TW")
	const many = 20
	l.make(workload.ClientFirst, many)
	l.make(workload.ServerFirst, many)
	born += l.counter("TW")
	budgets := l.sh("finwait budget -i 0 -o json --netns /run/netns/" + l.netns()).out
	for _, kind := range []workload.Kind{
		workload.TWFinAgain, workload.TWSyn, workload.TWRst, workload.UnreadData, workload.Linger0, workload.TWOverflow, workload.OrphanFinWait2, workload.Simultaneous,
	} {
		l.make(kind, 3)
	}
	overflows := l.counter("TCPTimeWaitOverflow")

	strict := n.lab("strict", workload.Options{})
	strict.sysctl("tcp_rfc1337=1")
	rec2 := strict.record("strict")
	strict.ignoresReset()
	ignored := rec2.stop()

	takeovers(n, p)
	memory(t, p)
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_tw_recycle"); !os.IsNotExist(err) {
		t.Errorf("tcp_tw_recycle: %v", err)
	}

	awaitFor(t, 2*time.Minute, "the last TIME_WAIT to end", func() bool { return l.sh("ss -Htan state time-wait state fin-wait-2 | wc -l").out == "0\n" })
	trace := rec.stop()

	// Who has it.
	if born != 2*many {
		t.Errorf("the kernel counts %d TIME_WAITs for %d closes", born, 2*many)
	}
	for kind, side := range map[workload.Kind]int{workload.ClientFirst: 0, workload.ServerFirst: 1} {
		for _, pair := range l.ends(trace, kind) {
			if !pair[side].entered() || pair[1-side].entered() {
				t.Errorf("%s: client%v, server%v", kind, pair[0], pair[1])
			}
		}
	}
	p.figure("closes", many)

	// How long.
	shortest, longest, latest, expired := time.Hour, time.Duration(0), time.Duration(0), 0
	for i := range trace.rows {
		r := &trace.rows[i]
		w := r.TimeWait
		if w == nil || w.End != event.EndExpired || w.Restarts > 0 || w.Late == event.Unknown || r.Incomplete {
			continue
		}
		expired++
		if due := w.Duration - w.Late; due < event.TimeWaitLen-tick || due > event.TimeWaitLen+tick {
			t.Errorf("TIME_WAIT was due after %v: %+v", due, w)
		}
		shortest, longest, latest = min(shortest, w.Duration), max(longest, w.Duration), max(latest, w.Late)
	}
	if expired < many || latest > 5*time.Second {
		t.Errorf("%d TIME_WAITs expired, up to %v late", expired, latest)
	}
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
	p.figure("expired", expired)
	p.figure("shortest", seconds(shortest))
	p.figure("longest", seconds(longest))
	p.figure("late", seconds(latest))

	// What it costs.
	spent := map[string]int{}
	for line := range strings.Lines(budgets) {
		var b struct {
			Peer struct {
				Address string
				Port    int
			}
			Used   int
			States map[string]int
		}
		if err := json.Unmarshal([]byte(line), &b); err != nil {
			t.Fatal(err)
		}
		spent[fmt.Sprintf("%s:%d", b.Peer.Address, b.Peer.Port)] = b.Used
	}
	for kind, want := range map[workload.Kind]int{workload.ClientFirst: 1, workload.ServerFirst: 0} {
		for _, c := range l.made[kind] {
			if got := spent[c.Client.Peer.String()]; got != want {
				t.Errorf("%s: %d ports towards %v, want %d", kind, got, c.Client.Peer, want)
			}
		}
	}

	// What ends it, and what does not.
	for _, pair := range l.ends(trace, workload.TWFinAgain) {
		if w := pair[0].waited(); w == nil || w.TimeWait.End != event.EndExpired || w.TimeWait.Restarts != 1 || w.TimeWait.Duration < 61*time.Second {
			t.Errorf("the peer repeats its FIN:%v %+v", pair[0], w)
		} else {
			p.figure("again", seconds(w.TimeWait.Duration))
		}
	}
	l.ended(trace, workload.TWRst, 0, event.EndReset)
	l.ended(trace, workload.TWSyn, 1, event.EndReusedBySyn)
	for _, pair := range strict.ends(ignored, workload.TWRst) {
		if w := pair[0].waited(); w != nil || !pair[0].entered() {
			t.Errorf("tcp_rfc1337=1:%v", pair[0])
		}
	}

	// What never has it.
	for _, kind := range []workload.Kind{workload.UnreadData, workload.Linger0} {
		for _, pair := range l.ends(trace, kind) {
			if pair[0].entered() || pair[1].entered() || pair[0].step(event.Established, event.Close) == nil {
				t.Errorf("%s: client%v, server%v", kind, pair[0], pair[1])
			}
			if r := pair[1].rows[0]; event.ErrnoName(r.Errno) != "ECONNRESET" || r.Method != event.MethodRst {
				t.Errorf("%s: the server's end: %+v", kind, r)
			}
		}
	}
	for _, pair := range l.ends(trace, workload.TWOverflow) {
		// Closed, so that FIN_WAIT2 needs a mini-socket too: there is nobody left for the peer's FIN.
		over, last := pair[0].step(event.FinWait2, event.Close), pair[1].step(event.LastAck, event.Close)
		if pair[0].entered() || pair[1].entered() || over == nil || over.TimeWait == nil || over.TimeWait.End != event.EndOverflow ||
			last == nil || event.ErrnoName(last.Errno) != "ECONNRESET" {
			t.Errorf("overflow: client%v, server%v", pair[0], pair[1])
		}
	}
	if overflows != 3 {
		t.Errorf("TCPTimeWaitOverflow counts %d", overflows)
	}

	// Orphans.
	for _, pair := range l.ends(trace, workload.OrphanFinWait2) {
		r := pair[0].step(event.FinWait2, event.Close)
		if r == nil || pair[0].entered() || r.Orphan != event.EndExpired || r.Duration < 5*time.Second-tick || r.Duration > 10*time.Second {
			t.Errorf("an orphan:%v %+v", pair[0], r)
		} else {
			p.figure("orphan", seconds(r.Duration))
		}
	}
	for _, pair := range l.ends(trace, workload.Simultaneous) {
		if !pair[0].entered() || pair[0].step(event.FinWait1, event.Closing) == nil {
			t.Errorf("FINs that cross:%v", pair[0])
		}
	}
	kernel, _, _ := strings.Cut(trace.start.Kernel, "-")
	p.figure("kernel", kernel)
	p.figure("hz", int(time.Second/tick))
	p.show("ends", l.sh(`finwait replay minute.jsonl.zst -o json | jq -r 'select(.time_wait) | .time_wait.end_reason' | sort | uniq -c`))
	p.finish()
}

// ended fails unless TIME_WAIT, at the client's (0) or the server's end, ended for this reason and long before its time.
func (l *lab) ended(t *trace, kind workload.Kind, side int, reason event.EndReason) {
	l.t.Helper()
	seen := 0
	for _, pair := range l.ends(t, kind) {
		w := pair[side].waited()
		if w == nil {
			continue // the successor of one: it has a TIME_WAIT that may go on
		}
		seen++
		if w.TimeWait.End != reason || w.TimeWait.Duration > 30*time.Second {
			l.t.Errorf("%s:%v, after %v", kind, pair[side], w.TimeWait.Duration)
		}
	}
	if seen == 0 {
		l.t.Errorf("%s: no TIME_WAIT has ended", kind)
	}
}

// ignoresReset makes an RST in TIME_WAIT that must not end it: the workload waits for the end in vain.
func (l *lab) ignoresReset() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 3*time.Second)
	defer cancel()
	if ledger, err := l.Run(ctx, workload.TWRst); err == nil {
		l.t.Errorf("an RST has ended TIME_WAIT: %+v", ledger.Closes)
	}
	if left := l.sh("ss -Htan state time-wait | wc -l").out; left != "1\n" {
		l.t.Errorf("%s TIME_WAITs are left, want 1", strings.TrimSpace(left))
	}
}

// takeovers asks when a port in TIME_WAIT can be had again.
func takeovers(n *network, p *page) {
	n.t.Helper()
	service := n.host("service")
	n.client("service")
	n.client("again")
	n.client("rebind")
	s := service.start("service", 7000, service.command("./service"))
	const dial, bind = "./again 10.0.0.1:7000", "./again 10.0.0.1:7000 %s:40000 "
	const reuseaddr = bind + "SO_REUSEADDR"
	for _, tt := range []struct {
		name   string
		line   string
		sysctl []string
		least  int // milliseconds; -1: never
		most   int
	}{
		{"off", dial, []string{"tcp_tw_reuse=0"}, -1, 0},
		{"loopback", dial, []string{"tcp_tw_reuse=2"}, -1, 0},
		{"on", dial, []string{"tcp_tw_reuse=1"}, 900, 2900},
		{"delay", dial, []string{"tcp_tw_reuse=1", "tcp_tw_reuse_delay=100"}, 90, 900},
		{"unstamped", dial, []string{"tcp_tw_reuse=1", "tcp_timestamps=0"}, -1, 0},
		{"bound", bind, []string{"tcp_tw_reuse=1"}, -1, 0},
		{"boundReuse", reuseaddr, []string{"tcp_tw_reuse=0"}, 0, 500},
		{"boundUnstamped", reuseaddr, []string{"tcp_tw_reuse=0", "tcp_timestamps=0"}, -1, 0},
	} {
		h := n.host(strings.ToLower(tt.name), append(tt.sysctl, "ip_local_port_range=40000 40001", "ip_local_reserved_ports=40001")...)
		line := tt.line
		if strings.Contains(line, "%s") {
			line = fmt.Sprintf(line, h.address)
		}
		out := strings.TrimSpace(h.sh(line).out)
		ms := -1
		fmt.Sscanf(out, "after %d ms", &ms)
		if tt.least < 0 && ms >= 0 || tt.least >= 0 && (ms < tt.least || ms > tt.most) {
			n.t.Errorf("%s: the port was had again %s", tt.name, out)
		}
		p.figure(tt.name, out)
		if tt.name == "off" {
			// Its only port is in TIME_WAIT. Nobody listens on the other port there, and that is what it is told.
			for port, want := range map[string]string{"7000": "Cannot assign requested address", "7001": "Connection refused"} {
				if got := h.try("(: </dev/tcp/10.0.0.1/" + port + ") 2>&1"); !strings.Contains(got.out, want) {
					n.t.Errorf("to port %s: %s", port, got.out)
				}
			}
		}
	}
	s.stop(syscall.SIGTERM)

	// A server that closed first has gone, its TIME_WAITs have not.
	server := n.host("server")
	peer := n.host("peer")
	sv := server.start("service", 7000, server.command("./service"))
	conn := peer.start("holder", 0, peer.command("bash", "-c", "exec 3<>/dev/tcp/"+server.address+"/7000; cat <&3"))
	await(n.t, "a connection", func() bool { return server.sockets(7000, stateEstablished) == 1 })
	sv.cmd.Process.Kill() // the kernel closes for it, first
	<-sv.ended
	await(n.t, "TIME_WAIT at the server's port", func() bool { return server.sockets(7000, stateTimeWait) == 1 })
	<-conn.ended
	out := server.sh("./rebind")
	if out.out != "SO_REUSEADDR 0: address already in use\nSO_REUSEADDR 1: <nil>\n" {
		n.t.Errorf("rebind: %s", out.out)
	}
}

// memory reads what a TIME_WAIT and a connection cost, from the kernel's slab caches.
func memory(t *testing.T, p *page) {
	t.Helper()
	raw, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 3 {
			sizes[f[0]], _ = strconv.Atoi(f[3])
		}
	}
	tw, full := sizes["tw_sock_TCP"], sizes["TCP"]
	if tw == 0 || full < 4*tw {
		t.Errorf("a TIME_WAIT takes %d bytes, a connection %d", tw, full)
	}
	p.figure("miniBytes", tw)
	p.figure("fullBytes", full)
	p.figure("million", fmt.Sprintf("%d MB", tw))
}
