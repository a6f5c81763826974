// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"finwait/tracer/event"
)

// world makes traces of events that never happened, in the order of time.
type world struct {
	start  event.Start
	at     []moment
	cookie uint64
	length time.Duration
	lost   map[event.LossReason]uint64
	cut    bool
}

type moment struct {
	ktime int64
	feed  func(*Trace)
}

const (
	boot  = int64(1000 * time.Second) // ktime of the trace's beginning
	netns = 4026531840
)

// newWorld is a host with default settings.
func newWorld(length time.Duration, settings ...string) *world {
	ns := event.Namespace{Inode: netns, Settings: map[string]string{
		"tcp_tw_reuse": "2", "tcp_timestamps": "1", "tcp_fin_timeout": "60", "tcp_max_tw_buckets": "131072",
		"tcp_rfc1337": "0", "ip_local_port_range": "32768 60999",
	}}
	for i := 0; i+1 < len(settings); i += 2 {
		ns.Settings[settings[i]] = settings[i+1]
	}
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	return &world{length: length, start: event.Start{
		KTime: boot, Clock: event.Clock{Offset: noon - boot}, Version: "test", Host: "web-1", Kernel: "6.12.9-amd64", Arch: "amd64",
		BootID: "b", Tick: 4 * time.Millisecond, Probe: "fentry", Namespaces: []event.Namespace{ns}, Sockets: 12,
	}}
}

func (w *world) do(after time.Duration, feed func(*Trace)) {
	w.at = append(w.at, moment{boot + int64(after), feed})
}

func proc(pid uint32, comm string) event.Process {
	return event.Process{PID: pid, TID: pid, StartNS: uint64(pid), Comm: event.MakeComm(comm), Thread: event.MakeComm(comm)}
}

// connection is one end of one, closed in an ordinary way unless it says otherwise.
type connection struct {
	process     event.Process
	peerProcess event.Process
	role        event.Role
	local, peer string
	closed      time.Duration // when the first FIN came, after the trace began
	lived       time.Duration
	idle        time.Duration
	closer      event.Closer
	method      event.Method
	noTS        bool
	sent        int64
	unread      int64
	errno       uint16        // with which the connection dies when data meets the FIN
	noPassive   time.Duration // how long the passive end takes to close; -1: for ever
	end         event.EndReason
	timeWait    time.Duration // 0: 60.5 s
	restarts    int
}

func (w *world) connect(c connection) {
	w.cookie++
	s := event.Socket{Cookie: w.cookie, NetNS: netns, Family: 4, Local: netip.MustParseAddrPort(c.local), Peer: netip.MustParseAddrPort(c.peer), Role: c.role}
	ts := int8(1)
	if c.noTS {
		ts = 0
	}
	base := event.Transition{
		Socket: s, Process: c.process, Attribution: event.Exact, PeerProcess: c.peerProcess, Closer: c.closer, Method: c.method,
		Idle: event.Unknown, Unread: event.Unknown, BytesSent: c.sent, BytesReceived: 100, Timestamps: ts,
	}
	if c.lived == 0 {
		c.lived = 20 * time.Millisecond
	}
	step := func(after time.Duration, old, next event.State, lasted time.Duration, more func(*event.Transition)) {
		if after > w.length {
			return
		}
		t := base
		t.Old, t.New, t.Duration = old, next, lasted
		if more != nil {
			more(&t)
		}
		t.KTime = boot + int64(after)
		w.do(after, func(tr *Trace) { tr.Transition(&t) })
	}
	first := func(t *event.Transition) { t.Idle, t.Unread = c.idle, c.unread }
	if aborts(c.method) {
		step(c.closed, event.Established, event.Close, c.lived, first)
		return
	}
	const rtt = time.Millisecond
	passive := max(c.noPassive, rtt)
	if c.closer == event.CloserPeer {
		step(c.closed, event.Established, event.CloseWait, c.lived, first)
		if c.errno != 0 {
			step(c.closed+passive, event.CloseWait, event.Close, passive, func(t *event.Transition) { t.Errno = c.errno })
			return
		}
		if c.noPassive >= 0 {
			step(c.closed+passive, event.CloseWait, event.LastAck, passive, nil)
			step(c.closed+passive+rtt, event.LastAck, event.Close, rtt, nil)
		}
		return
	}
	step(c.closed, event.Established, event.FinWait1, c.lived, first)
	step(c.closed+rtt, event.FinWait1, event.FinWait2, rtt, nil)
	if c.noPassive < 0 {
		step(c.closed+rtt+time.Minute, event.FinWait2, event.Close, time.Minute, func(t *event.Transition) { t.Orphan = event.EndExpired })
		return
	}
	in := c.closed + rtt + passive
	if c.errno != 0 {
		step(in, event.FinWait2, event.Close, passive, func(t *event.Transition) { t.Call = event.MethodDataAfterClose })
		return
	}
	if c.end == event.EndOverflow {
		step(in, event.FinWait2, event.Close, passive, func(t *event.Transition) {
			t.TimeWait = &event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown}
		})
		return
	}
	if c.timeWait == 0 {
		c.timeWait = 60500 * time.Millisecond
	}
	if c.end == event.EndNone {
		c.end = event.EndExpired
	}
	step(in, event.FinWait2, event.TimeWait, passive, nil)
	step(in+c.timeWait, event.TimeWait, event.Close, c.timeWait, func(t *event.Transition) {
		t.TimeWait = &event.TimeWaitInfo{Duration: c.timeWait, End: c.end, Restarts: c.restarts, Late: event.Unknown}
		if c.end == event.EndExpired {
			t.TimeWait.Late = c.timeWait - time.Minute
		}
	})
}

func (w *world) refuse(after time.Duration, p event.Process, peer string) {
	e := event.ConnectError{
		KTime: boot + int64(after), Process: p, Errno: 99,
		Socket: event.Socket{NetNS: netns, Family: 4, Local: netip.MustParseAddrPort("10.0.0.4:0"), Peer: netip.MustParseAddrPort(peer), Role: event.Client},
	}
	w.do(after, func(t *Trace) { t.ConnectError(&e) })
}

// play feeds a trace with everything, in the order of time.
func (w *world) play(t *Trace) {
	t.Start(&w.start)
	slices.SortStableFunc(w.at, func(a, b moment) int { return cmp.Compare(a.ktime, b.ktime) })
	for _, m := range w.at {
		m.feed(t)
	}
	end := event.End{KTime: boot + int64(w.length), Elapsed: w.length, Lost: w.lost}
	if !w.cut {
		t.End(&end)
	}
}

func (w *world) report(tb testing.TB) *Report {
	tb.Helper()
	c := New(Options{})
	w.play(c.Trace("incident.jsonl.zst"))
	return c.Report()
}

// many makes n connections, every apart, from consecutive local ports.
func (w *world) many(n int, from, every time.Duration, c connection) {
	local, peer := c.local, c.peer
	for i := range n {
		c.closed = from + time.Duration(i)*every
		port := 32768 + i%28232
		if c.role == event.Server {
			c.peer = fmt.Sprintf("%s:%d", peer, port)
		} else {
			c.local = fmt.Sprintf("%s:%d", local, port)
		}
		w.connect(c)
	}
}

var (
	nginx = proc(812, "nginx")
	api   = proc(900, "api")
	probe = proc(77, "blackbox")
)

// The scenarios: what a finding needs, and the finding.

// smallPool is a proxy whose pool of upstream connections is too small.
func smallPool(rate int) *world {
	w := newWorld(3 * time.Minute)
	w.many(200, 0, time.Second, connection{
		process: nginx, role: event.Server, local: "10.0.0.4:80", peer: "192.0.2.9", closer: event.CloserPeer, method: event.MethodFin, idle: 12 * time.Second,
		lived: 30 * time.Second,
	})
	w.many(rate*180, 0, time.Second/time.Duration(max(rate, 1)), connection{
		process: nginx, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose,
	})
	return w
}

// worn is a proxy whose upstream connections come to a limit of requests.
func worn(rate int) *world {
	w := smallPool(0)
	w.many(rate*180, 0, time.Second/time.Duration(rate), connection{
		process: nginx, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose, lived: 3 * time.Second,
	})
	return w
}

func exhausted() *world {
	w := smallPool(462)
	for i := range 40 {
		w.refuse(70*time.Second+time.Duration(i)*time.Second, nginx, "10.0.3.7:8080")
	}
	return w
}

func serverFirst() *world {
	w := newWorld(2 * time.Minute)
	w.many(100, 0, time.Second, connection{
		process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodClose,
	})
	return w
}

// keepalive is a client whose peer drops idle connections after t; pool, one that does so itself.
func keepalive(t time.Duration) *world {
	w := newWorld(2 * time.Minute)
	for i := range 60 {
		w.many(1, time.Duration(i)*time.Second, 0, connection{
			process: api, role: event.Client, local: fmt.Sprintf("10.0.0.%d", i+1), peer: "10.0.3.7:8080", closer: event.CloserPeer, method: event.MethodFin,
			idle: t + time.Duration(i%7)*20*time.Millisecond, lived: t + 10*time.Second,
		})
	}
	return w
}

func pool(t time.Duration) *world {
	w := newWorld(2 * time.Minute)
	for i := range 60 {
		w.many(1, time.Duration(i)*time.Second, 0, connection{
			process: api, role: event.Client, local: fmt.Sprintf("10.0.0.%d", i+1), peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose,
			idle: t + time.Duration(i%7)*20*time.Millisecond, lived: t + 10*time.Second,
		})
	}
	return w
}

// shortServer is a server whose keep-alive is shorter than its clients'.
func shortServer(sameHost bool) *world {
	w := newWorld(2 * time.Minute)
	c := connection{
		process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodClose,
		idle: 5 * time.Second, lived: time.Minute,
	}
	if sameHost {
		c.local, c.peer = "127.0.0.1:8080", "127.0.0.1"
		c.peerProcess = nginx
		w.many(60, 0, time.Second, connection{
			process: nginx, peerProcess: api, role: event.Client, local: "127.0.0.1", peer: "127.0.0.1:8080", closer: event.CloserPeer,
			method: event.MethodFin, idle: 5 * time.Second, lived: time.Minute,
		})
	}
	w.many(60, 0, time.Second, c)
	return w
}

func withSettings(w *world, settings ...string) *world {
	for i := 0; i+1 < len(settings); i += 2 {
		w.start.Namespaces[0].Settings[settings[i]] = settings[i+1]
	}
	return w
}

func withoutTimestamps(reuse string) *world {
	w := newWorld(2*time.Minute, "tcp_tw_reuse", reuse)
	w.many(300, 0, 300*time.Millisecond, connection{
		process: api, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose, noTS: true,
	})
	return w
}

func overflowing() *world {
	w := newWorld(2*time.Minute, "tcp_max_tw_buckets", "100")
	w.many(30, 0, time.Second, connection{
		process: api, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose, end: event.EndOverflow,
	})
	return w
}

func lingering(p event.Process, role event.Role, sent int64) *world {
	w := newWorld(time.Minute)
	c := connection{process: p, role: role, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodLinger0, sent: sent}
	if role == event.Server {
		c.local, c.peer = "10.0.0.4:8080", "10.0.9.1"
	}
	w.many(30, 0, time.Second, c)
	return w
}

func unread() *world {
	w := newWorld(time.Minute)
	w.many(12, 0, time.Second, connection{
		process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodUnreadData, unread: 70_000,
	})
	return w
}

// leak is n connections whose peers closed them and whose program closes after long, or never.
func leak(n int, long time.Duration) *world {
	w := newWorld(5 * time.Minute)
	w.many(n, 0, 100*time.Millisecond, connection{
		process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserPeer, method: event.MethodFin, noPassive: long,
	})
	return w
}

func neverFin() *world {
	w := newWorld(3 * time.Minute)
	w.many(9, 0, time.Second, connection{
		process: api, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose, noPassive: -1,
	})
	return w
}

// short is the first few seconds of a world.
func short(w *world) *world {
	w.length = 15 * time.Second
	w.at = slices.DeleteFunc(w.at, func(m moment) bool { return m.ktime > boot+int64(w.length) })
	return w
}

func cutShort(end event.EndReason, cut, whole int) *world {
	w := newWorld(3 * time.Minute)
	c := connection{process: api, role: event.Server, local: "10.0.0.4:8080", peer: "10.0.9.1", closer: event.CloserLocal, method: event.MethodClose}
	w.many(whole, 0, 10*time.Millisecond, c)
	c.end, c.timeWait, c.peer = end, 3*time.Second, "10.0.9.2"
	w.many(cut, 0, 10*time.Millisecond, c)
	return w
}
