// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// conn is one end of a connection, from its first closing step (or its first sight)
// until everything about it is over. It has no pointers; see [store].
type conn struct {
	key    uint64 // in Flow.conns: cookie, or the address where there is none; 0 if not there
	cookie uint64
	sock   uint64 // address of the full socket; 0 unknown
	tuple  event.Tuple
	netns  uint32

	since  int64 // ktime of the entry into state; 0 unknown
	closed int64 // ktime of the full socket's CLOSE; 0 before that

	// What the kernel last said of the owner, and the last that a verdict has used.
	owner name
	next  name // seen in the window, not yet due
	peer  name // the other end's, once it has been seen

	older, newer handle // in the index: what has the same hash; older, of what is free: the next one
	self         handle // where it is
	hash         uint32 // in the index

	bytesSent, bytesReceived int64

	mini mini

	lives uint16 // how many connections this memory has been, for those that remember it

	family      uint8
	role        event.Role
	state       event.State
	before      event.State // that it was in when tracing began; StateUnknown if it is not older
	closer      event.Closer
	method      event.Method
	attribution event.Attribution
	nextKnown   event.Attribution
	timestamps  int8
	existed     bool
	gone        bool // the full socket is closed; only the mini-socket remains
	refused     bool // no mini-socket could be made
	incomplete  bool // steps are missing, and no record has said so yet
}

// mini is a TIME_WAIT mini-socket's life so far; that of a connection without one is empty.
type mini struct {
	sock     uint64 // its address
	entered  int64  // ktime of TIME_WAIT; 0 unknown
	expires  uint64 // jiffies, as last seen; 0 unknown
	due      int64  // ktime by which the timer has fired for certain
	restarts int32
	listed   bool        // in Flow.minis
	state    event.State // FinWait2 or TimeWait
	inferred bool
	unproven bool // what happened last was told by a segment's ends alone; the timer will prove it
}

// isMini reports whether a mini-socket is in the full one's place.
func (c *conn) isMini() bool { return c.mini.sock != 0 }

func (c *conn) socket() event.Socket {
	return event.Socket{
		Cookie: c.cookie, NetNS: c.netns, Family: c.family,
		Local: c.tuple.LocalAddr(), Peer: c.tuple.PeerAddr(), Role: c.role,
	}
}

// again reports whether s is about another connection of the same socket: c is closed, and
// s is not its last step for a second time.
func (c *conn) again(s *event.Sample) bool {
	return c.closed != 0 && s.Old != event.Close && (s.Tuple != c.tuple || s.Since >= c.closed)
}
