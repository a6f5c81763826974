// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"finwait/tracer/event"
)

// reuseFindings: tcp_tw_reuse cannot do what somebody switched it on for, or could help.
func (v *view) reuseFindings() (out []Finding) {
	for _, g := range v.clients {
		if g.role != event.Client || g.program <= otherPrograms {
			continue
		}
		known := float64(g.timestamps[0] + g.timestamps[1])
		peer := netip.AddrFrom16(g.peer).Unmap()
		switch reuse := v.setting(g.netns, "tcp_tw_reuse"); {
		case reuse == "1" && g.timestamps[0] >= enoughCloses && float64(g.timestamps[0]) >= mostly*known:
			out = append(out, v.reuseUseless(g))
		case (reuse == "2" && !peer.IsLoopback() || reuse == "0") && g.timestamps[1] >= enoughCloses && float64(g.timestamps[1]) >= mostly*known && v.groupPressed(g):
			out = append(out, v.reuseOff(g, reuse))
		}
	}
	return out
}

// groupPressed reports whether one of the port budgets that a client group spends is near its end.
func (v *view) groupPressed(g *group) bool {
	for i := range v.budgeted {
		p := &v.budgeted[i]
		if p.budget.tuple.Peer == g.peer && p.budget.tuple.PeerPort == g.port && p.NetNS == g.netns &&
			(p.PeakShare() >= portsPressed || p.Failed > 0) {
			return true
		}
	}
	return false
}

func (v *view) reuseUseless(g *group) Finding {
	f := Finding{
		ID: "tw-reuse-without-timestamps", Severity: Info,
		Title: fmt.Sprintf("tcp_tw_reuse=1 does nothing for %s towards %s: no TCP timestamps", v.who(g.program), peerName(g)),
		Evidence: []string{
			fmt.Sprintf("%s to this peer did not negotiate timestamps; connect() took over %s.", some(g.timestamps[0], g.timestamps[0]+g.timestamps[1], "TIME_WAIT"), Count(g.ends[event.EndReusedByConnect])),
		},
		Means: "connect() may take a port over from TIME_WAIT only if that connection used TCP timestamps: they tell old segments from new ones.",
		Not:   []string{"Do not count on tcp_tw_reuse for this peer, and do not look for tcp_tw_recycle: it needed timestamps too, and is gone since Linux 4.12."},
	}
	if v.groupPressed(g) {
		f.Severity = Warning
	}
	if ts := v.setting(g.netns, "tcp_timestamps"); ts == "0" {
		f.Evidence = append(f.Evidence, "net.ipv4.tcp_timestamps is 0 here.")
		f.Change = []string{"Set net.ipv4.tcp_timestamps=1 on this host."}
	} else {
		if ts != "" {
			f.Evidence = append(f.Evidence, "net.ipv4.tcp_timestamps is "+ts+" here: the peer, or a load balancer or firewall on the way, does not use them.")
		}
		f.Change = []string{"Switch TCP timestamps on at the peer, or at the load balancer or firewall that takes them off.", "Or need fewer ports: keep connections open, spread over more addresses."}
	}
	f.Examples = v.examples(g.examples[noTimestamps], noteSpan("TIME_WAIT for"))
	c := v.choose(g)
	c.closer, c.closes = event.CloserLocal, true
	f.Replay = v.command(c)
	return f
}

func (v *view) reuseOff(g *group, reuse string) Finding {
	what := "is off (0)"
	if reuse == "2" {
		what = "is for loopback only (2, the default)"
	}
	f := Finding{
		ID: "tw-reuse-would-help", Severity: Info,
		Title: fmt.Sprintf("tcp_tw_reuse %s and would help %s towards %s", what, v.who(g.program), peerName(g)),
		Evidence: []string{
			fmt.Sprintf("%s to this peer negotiated timestamps, which is what reuse needs.", some(g.timestamps[1], g.timestamps[0]+g.timestamps[1], "TIME_WAIT")),
			"net.ipv4.tcp_tw_reuse is " + reuse + " in this namespace.",
		},
		Means:  "With 1, connect() may take a port over after one second of TIME_WAIT instead of a minute, to any peer: up to sixty times as many connections from the same range.",
		Change: []string{"sysctl -w net.ipv4.tcp_tw_reuse=1, in this network namespace, while the cause (connections closed after each use) is being removed."},
		Not:    []string{"Do not expect it to help servers: it is for outgoing connections only."},
	}
	f.Examples = v.examples(g.examples[reusable], noteSpan("TIME_WAIT for"))
	c := v.choose(g)
	c.closer, c.closes = event.CloserLocal, true
	f.Replay = v.command(c)
	return f
}

// adviceFindings: settings that were changed, or are about to be, on advice that is out
// of date.
func (v *view) adviceFindings() (out []Finding) {
	if f, ok := v.finTimeout(); ok {
		out = append(out, f)
	}
	major, minor := kernelVersion(v.kernel)
	if !v.pressed() || major == 0 || major < 4 || major == 4 && minor < 12 {
		return out
	}
	return append(out, Finding{
		ID: "tcp-tw-recycle-is-gone", Severity: Info,
		Title:    "Advice to set tcp_tw_recycle is out of date",
		Evidence: []string{"This host runs Linux " + printable([]byte(v.kernel)) + "; tcp_tw_recycle was removed in 4.12."},
		Means:    "Much of what is written about TIME_WAIT recommends it. It broke clients behind NAT, and there is nothing left to set: sysctl says that the key does not exist.",
		Change:   []string{"Take it out of sysctl files and runbooks. What is left: close less often from this side, more addresses or ports, tcp_tw_reuse with timestamps."},
	})
}

// finTimeout: somebody lowered it and TIME_WAIT is as long as ever.
func (v *view) finTimeout() (f Finding, ok bool) {
	w := length(v.timeWaits.length)
	n := v.timeWaits.ended[event.EndExpired]
	if n < enoughCloses || w == nil || w.P50 < timeWaitLen-time.Second {
		return f, false
	}
	for _, g := range v.all {
		set := v.setting(g.netns, "tcp_fin_timeout")
		if set == "" || set == defaultFin || g.ends[event.EndExpired] < enoughCloses {
			continue
		}
		c := v.choose(g)
		c.closes = true
		return Finding{
			ID: "fin-timeout-is-not-time-wait", Severity: Info,
			Title:    "tcp_fin_timeout is " + set + ", and TIME_WAIT lasts a minute all the same",
			Evidence: []string{fmt.Sprintf("%s ran out after %s (median).", plural(n, "TIME_WAIT"), Span(w.P50))},
			Means:    "tcp_fin_timeout is how long a closed socket waits in FIN_WAIT2 for the peer's FIN. The length of TIME_WAIT is fixed in the kernel.",
			Change:   []string{"Leave it at 60 unless peers that never send their FIN are the problem."},
			Not:      []string{"Do not lower it further: slow peers lose the end of their connections."},
			Replay:   v.command(c),
		}, true
	}
	return f, false
}

func kernelVersion(release string) (major, minor int) {
	a, rest, _ := strings.Cut(release, ".")
	b, _, _ := strings.Cut(rest, ".")
	b = strings.TrimRightFunc(b, func(r rune) bool { return r < '0' || r > '9' })
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return major, minor
}
