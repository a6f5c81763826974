// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"time"

	"finwait/tracer/event"
)

// groupKey is process × peer × direction. The port is the service's: the peer's for a
// client, the local one for a server.
type groupKey struct {
	program uint32
	netns   uint32
	peer    [16]byte
	port    uint16
	role    event.Role
	any     bool // of the peers that did not fit
}

// The kinds of evidence that a group keeps examples of.
type kind uint8

const (
	localFirst kind = iota
	localIdle
	peerIdle
	crossing
	linger0
	unreadData
	noTimestamps
	reusable
	cutBySyn
	cutByReset
	overflow
	stuckCloseWait
	stuckFinWait2
	stuckDead
	noFin
	restarted
	kindEnd
)

// example is one connection that shows something.
type example struct {
	ktime int64
	tuple event.Tuple
	netns uint32
	value int64 // a duration or a number of bytes, depending on the kind; Unknown
}

// lasts is about a state that connections should leave soon.
type lasts struct {
	entered uint64 // how often
	ended   uint64 // left, after more than lasting
	open    uint64 // still there at the end of the trace, for more than lasting
	leaks   uint64 // still there, for more than leaking
	late    uint64 // left, after more than leaking
	longest time.Duration
}

func (l *lasts) merge(o *lasts) {
	l.entered += o.entered
	l.ended += o.ended
	l.open += o.open
	l.leaks += o.leaks
	l.late += o.late
	l.longest = max(l.longest, o.longest)
}

// group is what a program's connections to one peer, in one direction, came to.
type group struct {
	groupKey
	closes     uint64
	mirrored   uint64 // of closes: the other end is on this host too
	mate       uint32 // the program at the other ends, on this host; otherPrograms: more than one
	closers    [5]uint64
	methods    [16]uint64
	aborted    uint64
	small      uint64 // SO_LINGER 0 after proberBytes at most
	discarded  uint64 // bytes that nobody read
	prompt     uint64 // closed here first, less than idleFloor after the last data
	crossed    uint64 // of closes after idling: data met the FIN
	outrun     uint64 // the peer closed first, or at the same time, as promptly
	lifetime   time.Duration
	lifetimes  uint64
	births     uint64
	timestamps [2]uint64 // births without and with
	ends       [10]uint64
	restarts   uint64
	neverFin   uint64

	closeWait, finWait2, dead lasts

	idleLocal, idlePeer *idles // by who closed first
	first, last         int64  // ktime of closes

	examples [kindEnd][]example
}

func (g *group) example(k kind, c *conn, ktime, value int64) {
	if len(g.examples[k]) < maxExamples {
		g.examples[k] = append(g.examples[k], example{ktime, c.tuple, c.key.netns, value})
	}
}

// aborts: methods that end a connection without FINs both ways.
func aborts(m event.Method) bool {
	switch m {
	case event.MethodLinger0, event.MethodUnreadData, event.MethodDisconnect, event.MethodListener, event.MethodLinger2,
		event.MethodRst, event.MethodTimeout, event.MethodAbort, event.MethodDataAfterClose:
		return true
	}
	return false
}

// merge adds what another group came to; keys stay.
func (g *group) merge(o *group) {
	g.closes += o.closes
	g.mirrored += o.mirrored
	g.mates(o.mate)
	for i := range o.closers {
		g.closers[i] += o.closers[i]
	}
	for i := range o.methods {
		g.methods[i] += o.methods[i]
	}
	g.aborted += o.aborted
	g.small += o.small
	g.discarded += o.discarded
	g.prompt += o.prompt
	g.outrun += o.outrun
	g.crossed += o.crossed
	g.lifetime += o.lifetime
	g.lifetimes += o.lifetimes
	g.births += o.births
	g.timestamps[0] += o.timestamps[0]
	g.timestamps[1] += o.timestamps[1]
	for i := range o.ends {
		g.ends[i] += o.ends[i]
	}
	g.restarts += o.restarts
	g.neverFin += o.neverFin
	g.closeWait.merge(&o.closeWait)
	g.finWait2.merge(&o.finWait2)
	g.dead.merge(&o.dead)
	g.idleLocal = mergeIdles(g.idleLocal, o.idleLocal)
	g.idlePeer = mergeIdles(g.idlePeer, o.idlePeer)
	if g.first == 0 || o.first != 0 && o.first < g.first {
		g.first = o.first
	}
	g.last = max(g.last, o.last)
	for k := range o.examples {
		room := min(maxExamples-len(g.examples[k]), len(o.examples[k]))
		g.examples[k] = append(g.examples[k], o.examples[k][:room]...)
	}
}

func mergeIdles(x, o *idles) *idles {
	if o == nil {
		return x
	}
	if x == nil {
		x = new(idles)
	}
	x.merge(o)
	return x
}

// mates takes note of who is at the other end.
func (g *group) mates(program uint32) {
	switch {
	case program == unknownProgram || g.mate == program:
	case g.mate == unknownProgram:
		g.mate = program
	default:
		g.mate = otherPrograms
	}
}

// groups is a bounded table: when it is full, the smaller half is added to one group
// for each program, role and port. Totals stay right; single peers are lost.
type groups struct {
	max    int
	index  map[groupKey]*group
	folded uint64 // groups given up
}

func (gs *groups) get(k groupKey) *group {
	if g := gs.index[k]; g != nil {
		return g
	}
	if len(gs.index) >= gs.max {
		gs.fold()
	}
	g := &group{groupKey: k}
	gs.index[k] = g
	return g
}

func (gs *groups) fold() {
	all := gs.sorted()
	for _, g := range all[len(all)/2:] {
		k := g.groupKey
		switch {
		case !k.any:
			k.any, k.peer = true, [16]byte{}
		case k.program != otherPrograms:
			k.program, k.port, k.netns = otherPrograms, 0, 0
		default:
			continue
		}
		delete(gs.index, g.groupKey)
		gs.folded++
		rest := gs.index[k]
		if rest == nil {
			rest = &group{groupKey: k}
			gs.index[k] = rest
		}
		rest.merge(g)
	}
}

// sorted returns the groups, those with most closes first.
func (gs *groups) sorted() []*group {
	all := make([]*group, 0, len(gs.index))
	for _, g := range gs.index {
		all = append(all, g)
	}
	slices.SortFunc(all, compareGroups)
	return all
}

func compareGroups(a, b *group) int {
	return cmp.Or(cmp.Compare(b.closes, a.closes), cmp.Compare(a.program, b.program), cmp.Compare(a.role, b.role),
		cmp.Compare(a.port, b.port), slices.Compare(a.peer[:], b.peer[:]), cmp.Compare(a.netns, b.netns))
}
