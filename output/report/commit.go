// SPDX-License-Identifier: Apache-2.0

package report

import (
	"finwait/tracer/event"
)

// group returns the group that a connection belongs to.
func (h *host) group(c *conn) *group {
	k := groupKey{program: c.program, netns: c.key.netns, role: c.role, peer: c.tuple.Peer}
	switch c.role {
	case event.Client:
		k.port = c.tuple.PeerPort
	case event.Server:
		k.port = c.tuple.LocalPort
		h.processes.list[c.program].server = true
	default:
		k.port = min(c.tuple.LocalPort, c.tuple.PeerPort) // the service's, as a rule
	}
	return h.groups.get(k)
}

// commitOpen adds a connection that the end of the trace cut off.
func (h *host) commitOpen(c *conn) {
	age := h.now - c.since
	switch c.state {
	case event.CloseWait:
		h.stillOpen(c, stuckCloseWait, age)
	case event.FinWait2:
		h.stillOpen(c, stuckFinWait2, age)
	case event.TimeWait:
		c.end = event.EndOpen
	}
	h.commit(c)
}

func (h *host) stillOpen(c *conn, k kind, age int64) {
	g := h.group(c)
	l := &g.closeWait
	if k == stuckFinWait2 {
		l = &g.finWait2
	}
	l.entered++
	if age < int64(lasting) {
		return
	}
	l.open++
	if age >= int64(leaking) {
		l.leaks++
	}
	if age > int64(l.longest) {
		l.longest = asDuration(age)
	}
	g.example(k, c, c.since, age)
	h.worst.add(h, k, c, c.since, age)
}

// commit adds up a connection that is over: only now its owner and who closed it first
// are as well known as they will ever be.
func (h *host) commit(c *conn) {
	g := h.group(c)
	if c.existed {
		h.existed++
	}
	if c.closer != event.CloserUnknown && (!c.partial || h.conns.evicted == 0) {
		h.close(g, c)
	}
	h.last(g, c)
	if c.closeWait >= 0 {
		h.left(g, &g.closeWait, stuckCloseWait, c, int64(c.closeWait))
	}
	if c.finWait2 >= 0 {
		h.left(g, &g.finWait2, stuckFinWait2, c, int64(c.finWait2))
	}
	if c.orphan == event.EndExpired {
		g.neverFin++
		g.example(noFin, c, c.closed, int64(c.finWait2))
		h.worst.add(h, noFin, c, c.closed, int64(c.finWait2))
	}
}

// close counts who closed first, and how.
func (h *host) close(g *group, c *conn) {
	g.closes++
	if g.first == 0 || c.closed < g.first {
		g.first = c.closed
	}
	g.last = max(g.last, c.closed)
	if c.bothHere {
		g.mirrored++
	}
	g.mates(c.mate)
	g.closers[c.closer]++
	g.methods[c.method]++
	if aborts(c.method) {
		g.aborted++
	}
	if c.opened != 0 {
		g.lifetime += asDuration(c.closed - c.opened)
		g.lifetimes++
	}
	if c.crossed && c.idle >= idleFloor {
		g.crossed++
		g.example(crossing, c, c.closed, int64(c.idle))
	}
	switch {
	case c.closer == event.CloserLocal && !aborts(c.method) && c.idle >= idleFloor:
		if g.idleLocal == nil {
			g.idleLocal = new(idles)
		}
		g.idleLocal.add(c.idle)
		g.example(localIdle, c, c.closed, int64(c.idle))
	case c.closer == event.CloserLocal && !aborts(c.method):
		if c.idle != event.Unknown {
			g.prompt++
		}
		g.example(localFirst, c, c.closed, int64(c.idle))
	case c.closer == event.CloserBoth, c.closer == event.CloserPeer && c.method == event.MethodFin && c.idle != event.Unknown && c.idle < idleFloor:
		g.outrun++
	case c.closer == event.CloserPeer && c.method == event.MethodFin && c.idle >= idleFloor:
		if g.idlePeer == nil {
			g.idlePeer = new(idles)
		}
		g.idlePeer.add(c.idle)
		g.example(peerIdle, c, c.closed, int64(c.idle))
	}
	switch {
	case c.closer != event.CloserLocal:
	case c.method == event.MethodLinger0:
		if c.sent <= proberBytes {
			g.small++
		}
		g.example(linger0, c, c.closed, c.sent)
		if c.role != event.Client {
			h.worst.add(h, linger0, c, c.closed, max(c.sent, 0))
		}
	case c.method == event.MethodUnreadData:
		g.discarded += uint64(max(c.unread, 0))
		g.example(unreadData, c, c.closed, c.unread)
		h.worst.add(h, unreadData, c, c.closed, max(c.unread, 0))
	}
}

// last counts what became of the connection's TIME_WAIT.
func (h *host) last(g *group, c *conn) {
	if c.end == event.EndNone {
		return
	}
	g.ends[c.end]++
	length := int64(c.timeWait)
	switch c.end {
	case event.EndOverflow:
		g.example(overflow, c, c.closed, event.Unknown)
		return
	case event.EndReusedBySyn:
		g.example(cutBySyn, c, c.since, length)
	case event.EndReset:
		g.example(cutByReset, c, c.since, length)
		h.worst.add(h, cutByReset, c, c.since, int64(timeWaitLen)-max(length, 0))
	}
	g.births++
	switch c.timestamps {
	case 0:
		g.timestamps[0]++
		g.example(noTimestamps, c, c.closed, length)
	case 1:
		g.timestamps[1]++
		g.example(reusable, c, c.closed, length)
	}
	if c.restarts > 0 {
		g.restarts++
		g.example(restarted, c, c.since, int64(c.restarts))
		h.worst.add(h, restarted, c, c.since, int64(c.restarts))
	}
}

// left counts a state that should be short and is over.
func (h *host) left(g *group, l *lasts, k kind, c *conn, length int64) {
	l.entered++
	if length < int64(lasting) {
		return
	}
	l.ended++
	if length >= int64(leaking) {
		l.late++
	}
	l.longest = max(l.longest, asDuration(length))
	if c.orphan != event.EndExpired { // that has an example of its own
		g.example(k, c, c.closed, length)
		h.worst.add(h, k, c, c.closed, length)
	}
}
