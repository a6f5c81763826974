// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"finwait/tracer/event"
	portrange "finwait/tracer/ports"
)

// namespace is a network namespace's settings, as far as findings use them.
type namespace struct {
	settings map[string]string
	ports    portrange.Range // zero: not known
}

func newNamespace(settings map[string]string) *namespace {
	n := &namespace{settings: settings}
	n.ports, _ = portrange.Of(settings)
	return n
}

func (n *namespace) capacity() int64 {
	if n == nil {
		return 0
	}
	return n.ports.Capacity
}

// reuseDelay is how long a port has been in TIME_WAIT before connect() may take it over.
func (n *namespace) reuseDelay() time.Duration {
	if n == nil {
		return portrange.ReuseDelay(nil)
	}
	return portrange.ReuseDelay(n.settings)
}

// host adds up what happened on one machine between two boots: ktime is its only clock.
type host struct {
	name, kernel, boot string
	clock              event.Clock
	tick               time.Duration
	namespaces         map[uint32]*namespace
	first, now         int64 // ktime of the trace's beginning, and of the last record

	conns     conns
	processes processes
	groups    groups
	budgets   budgets
	grid      grid
	timeWaits timeWaits
	worst     worst
	pairs     pairs

	transitions uint64
	connections uint64
	sockets     int    // that existed
	existed     uint64 // of them, began to close or ended
	failed      map[uint16]uint64
}

func newHost(opt *Options, ktime int64) *host {
	h := &host{
		namespaces: map[uint32]*namespace{}, first: ktime, now: ktime,
		conns: newConns(opt.MaxConns), processes: newProcesses(opt.MaxPrograms),
		groups:  groups{max: opt.MaxGroups, index: map[groupKey]*group{}},
		budgets: budgets{max: opt.MaxBudgets, index: map[portsKey]*ports{}},
		grid:    newGrid(ktime), pairs: newPairs(), failed: map[uint16]uint64{},
	}
	h.timeWaits = newTimeWaits(&h.grid)
	return h
}

func (h *host) see(ktime int64) { h.now = max(h.now, ktime) }

// transition takes the next step of a connection.
func (h *host) transition(t *event.Transition) {
	h.see(t.KTime)
	h.transitions++
	if t.Old == event.SynSent || t.Old == event.SynRecv {
		return // never a connection; connect_error tells of it
	}
	k := h.conns.key(&t.Socket)
	c := h.conns.find(k)
	if c == nil {
		c = h.begin(k, t)
	}
	h.update(c, t)
	c.inTimeWait = c.inTimeWait || t.New == event.TimeWait
	if t.Process.Known() && (c.program == unknownProgram || c.attribution != event.Exact || t.Attribution == event.Exact) {
		c.program, c.pid, c.attribution = h.processes.intern(&t.Process), t.Process.PID, t.Attribution
	}
	if t.New == event.TimeWait {
		// A mini-socket that is older than the trace was counted when it was found.
		h.timeWaits.enter(&h.grid, t.KTime, c.partial && c.existed)
		if c.ports != nil {
			c.ports.births++
			h.timeWaits.ports++
		}
	}
	if t.New == event.Close {
		h.end(c, t)
	}
}

// begin makes a connection of its first record.
func (h *host) begin(k connKey, t *event.Transition) *conn {
	c := h.conns.add(k, h.commit)
	c.tuple, c.family = event.TupleOf(t.Local, t.Peer), t.Family
	c.existed, c.role = t.Existed, t.Role
	c.partial = t.Old != event.Established
	c.closed = t.KTime
	c.bothHere = t.PeerProcess.Known() || t.Peer.Addr().IsLoopback() || t.Peer.Addr() == t.Local.Addr()
	if !c.partial {
		if t.Duration >= 0 {
			c.opened = t.KTime - int64(t.Duration)
		}
		if !c.bothHere || h.pairs.first(&c.tuple, c.key.netns) {
			h.connections++
		}
	}
	if h.spendsPort(c) {
		p := h.budgets.get(&h.grid, c.portsKey())
		if t.Old == event.TimeWait || c.existed && c.partial {
			p.existed(&h.grid, t.KTime)
		} else {
			c.ports, c.holdsPort = p, true
			c.program, c.pid = h.processes.intern(&t.Process), t.Process.PID
			c.attribution = t.Attribution
			p.hold(&h.grid, c, t.KTime)
		}
	}
	return c
}

// spendsPort reports whether a connection keeps connect() from using a port. A role
// that is not known is no obstacle: what counts is a local port in the range, towards a
// service's port.
func (h *host) spendsPort(c *conn) bool {
	ns := h.namespaces[c.key.netns]
	if ns.capacity() == 0 {
		return c.role == event.Client
	}
	return ns.ports.Has(c.tuple.LocalPort) &&
		(c.role == event.Client || c.role == event.RoleUnknown && !ns.ports.Contains(c.tuple.PeerPort))
}

func (c *conn) portsKey() portsKey {
	k := portsKey{tuple: c.tuple, netns: c.key.netns}
	k.tuple.LocalPort = 0
	return k
}

// update takes what a step says of its connection.
func (h *host) update(c *conn, t *event.Transition) {
	if t.Closer != event.CloserUnknown {
		c.closer, c.method = t.Closer, t.Method
	}
	if t.Role != event.RoleUnknown {
		c.role = t.Role
	}
	if c.mate == unknownProgram {
		c.mate = h.processes.intern(&t.PeerProcess)
	}
	c.timestamps = max(c.timestamps, t.Timestamps)
	c.unread = max(c.unread, t.Unread)
	c.sent = max(c.sent, t.BytesSent)
	if t.Old == event.Established {
		c.idle = t.Idle
	}
	c.crossed = c.crossed || crossed(t)
	switch t.Old {
	case event.CloseWait:
		c.closeWait = t.Duration
	case event.FinWait2:
		c.finWait2 = t.Duration
	}
	c.state, c.since = t.New, t.KTime
}

// crossed reports whether a step shows that one end sent data after the other one had closed: the FIN was under
// way, or nobody looked. The closed end answers with an RST.
func crossed(t *event.Transition) bool {
	switch t.Closer {
	case event.CloserLocal:
		return t.Call == event.MethodDataAfterClose
	case event.CloserPeer:
		name := event.ErrnoName(t.Errno)
		return t.Old == event.CloseWait && t.New == event.Close && (name == "EPIPE" || name == "ECONNRESET")
	}
	return false
}

// end is the last step of a connection.
func (h *host) end(c *conn, t *event.Transition) {
	c.orphan = t.Orphan
	if i := t.TimeWait; i != nil {
		c.end, c.timeWait, c.restarts = i.End, i.Duration, uint16(min(i.Restarts, 1<<16-1))
		if i.End == event.EndOverflow {
			h.timeWaits.ended[event.EndOverflow]++
		} else {
			h.timeWaits.leave(&h.grid, t.KTime, i, c.inTimeWait || c.existed)
		}
		if i.End == event.EndReusedByConnect && c.ports != nil {
			c.ports.reused++
		}
	}
	if c.holdsPort && c.ports != nil {
		c.ports.release(&h.grid, t.KTime)
	}
	h.commit(c)
	h.conns.remove(c.key)
}

// connectError takes a connect() that failed.
func (h *host) connectError(e *event.ConnectError) {
	h.see(e.KTime)
	h.failed[e.Errno]++
	h.worst.connectError(h, e)
	if event.ErrnoName(e.Errno) != "EADDRNOTAVAIL" || e.Local.Port() != 0 || e.Peer.Port() == 0 {
		return // with a port that the program chose, the range is not to blame
	}
	k := portsKey{tuple: event.TupleOf(e.Local, e.Peer), netns: e.NetNS}
	p := h.budgets.get(&h.grid, k)
	if p.failed == 0 {
		p.failedAt[0] = e.KTime
	}
	p.failed++
	p.failedAt[1] = e.KTime
	p.failer = h.processes.intern(&e.Process)
}

// release takes the close() of a socket that had died before.
func (h *host) release(r *event.Release) {
	h.see(r.KTime)
	if r.Held < lasting {
		return
	}
	c := conn{key: h.conns.key(&r.Socket), tuple: event.TupleOf(r.Local, r.Peer), role: r.Role}
	c.program, c.pid = h.processes.intern(&r.Process), r.Process.PID
	g := h.group(&c)
	g.dead.ended++
	g.dead.longest = max(g.dead.longest, r.Held)
	g.example(stuckDead, &c, r.KTime, int64(r.Held))
	h.worst.add(h, stuckDead, &c, r.KTime, int64(r.Held))
}

// interrupt: between two recordings of one boot nobody knows what happened.
func (h *host) interrupt(ktime int64) {
	h.conns.drain(h.commitOpen)
	h.timeWaits.forget(&h.grid, ktime)
	for _, p := range h.budgets.index {
		if p.held != nil {
			p.held[h.grid.slot(ktime)] -= int32(p.now)
		}
		p.now = 0
	}
}
