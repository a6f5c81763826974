// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net/netip"
	"slices"

	"finwait/tracer/event"
)

// conn is one end of a connection, from its first closing step (or its first sight)
// until everything about it is over.
type conn struct {
	key    uint64 // in Flow.conns: cookie, or the address where there is none; 0 if not there
	cookie uint64
	tuple  event.Tuple
	netns  uint32
	family uint8
	role   event.Role

	state   event.State
	since   int64 // ktime of the entry into state; 0 unknown
	closed  int64 // ktime of the full socket's CLOSE; 0 before that
	closer  event.Closer
	method  event.Method
	existed bool
	before  event.State // that it was in when tracing began; StateUnknown if it is not older

	// What the kernel last said of the owner, and the last that a verdict has used.
	owner       *event.Process
	attribution event.Attribution
	next        *event.Process // seen in the window, not yet due
	nextKnown   event.Attribution
	peer        *event.Process // the other end's, once it has been seen
	cgroup      uint64

	bytesSent, bytesReceived int64
	timestamps               int8

	mini *mini
	gone bool // the full socket is closed; only the mini-socket remains

	refused    bool // no mini-socket could be made
	incomplete bool // steps are missing, and no record has said so yet

	prev *conn
	same *conn // another connection with the same 4-tuple, in another namespace
}

// mini is a TIME_WAIT mini-socket's life so far.
type mini struct {
	state    event.State // FinWait2 or TimeWait
	sock     uint64      // its address
	entered  int64       // ktime of TIME_WAIT; 0 unknown
	expires  uint64      // jiffies, as last seen; 0 unknown
	due      int64       // ktime by which the timer has fired for certain
	restarts int
	inferred bool
	unproven bool // what happened last was told by a segment's ends alone; the timer will prove it
}

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

func isLoopback(a [16]byte) bool { return netip.AddrFrom16(a).Unmap().IsLoopback() }

// index finds connections by their 4-tuple. Namespaces are not part of the key: the
// other end of a connection may be in another one.
type index map[event.Tuple]*conn

func (x index) add(c *conn) {
	first := x[c.tuple]
	c.same, c.prev = first, nil
	if first != nil {
		first.prev = c
	}
	x[c.tuple] = c
}

func (x index) remove(c *conn) {
	switch {
	case c.prev != nil:
		c.prev.same = c.same
	case x[c.tuple] == c:
		if c.same == nil {
			delete(x, c.tuple)
		} else {
			x[c.tuple] = c.same
		}
	default:
		return
	}
	if c.same != nil {
		c.same.prev = c.prev
	}
	c.same, c.prev = nil, nil
}

// closing returns the connection with this 4-tuple in this namespace that a mini-socket
// may take the place of. A newer one with the same 4-tuple may be in the window already.
func (x index) closing(t event.Tuple, netns uint32) *conn {
	var older *conn
	for c := x[t]; c != nil; c = c.same {
		switch {
		case c.netns != netns || c.mini != nil:
		case c.state == event.FinWait1 || c.state == event.FinWait2 || c.state == event.Closing:
			return c
		case c.state == event.StateUnknown && c.existed:
			older = c
		}
	}
	return older
}

// peer returns the other end of c when it is on this host and there is no doubt
// about it. A loopback address means the same namespace; otherwise exactly one
// socket of this host must have the mirrored 4-tuple, and no other the same.
func (x index) peer(c *conn) *conn {
	first := x[c.tuple.Reverse()]
	if first == nil {
		return nil
	}
	if isLoopback(c.tuple.Peer) {
		for p := first; p != nil; p = p.same {
			if p.netns == c.netns {
				return p
			}
		}
		return nil
	}
	if first.same == nil && c.prev == nil && c.same == nil {
		return first
	}
	return nil
}

// ends finds mini-sockets by their 4-tuple alone.
type ends map[event.Tuple][]*conn

func (e ends) add(c *conn) { e[c.tuple] = append(e[c.tuple], c) }

func (e ends) remove(c *conn) {
	list, ok := e[c.tuple]
	if !ok {
		return
	}
	if list = slices.DeleteFunc(list, func(o *conn) bool { return o == c }); len(list) == 0 {
		delete(e, c.tuple)
	} else {
		e[c.tuple] = list
	}
}

// only returns the one mini-socket with this 4-tuple. Two in two namespaces cannot be
// told apart.
func (e ends) only(t event.Tuple) *conn {
	if list := e[t]; len(list) == 1 {
		return list[0]
	}
	return nil
}
