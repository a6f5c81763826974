// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"finwait/tracer/event"
)

// connKey identifies one connection of one socket. A socket may be connected again
// while its first connection is in TIME_WAIT: the ports tell them apart.
type connKey struct {
	id          uint64 // cookie; a hash of the 4-tuple on kernels without
	netns       uint32
	local, peer uint16
}

// conn is one end of a connection that is closing. It has no pointers but one: the
// table of all of them is large.
type conn struct {
	key    connKey
	tuple  event.Tuple
	family uint8

	state       event.State
	closer      event.Closer
	method      event.Method
	role        event.Role
	attribution event.Attribution
	timestamps  int8
	partial     bool // its first closing step was not seen
	existed     bool
	bothHere    bool // the other end is on this host too
	holdsPort   bool // counted in ports
	inTimeWait  bool // its TIME_WAIT began in the trace
	crossed     bool // data met the FIN of the end that had closed first
	orphan      event.EndReason
	end         event.EndReason
	restarts    uint16

	program uint32
	pid     uint32
	mate    uint32 // the program at the other end, when that is on this host
	since   int64  // ktime of the entry into state
	opened  int64  // ktime; 0 unknown
	closed  int64  // ktime of the first closing step
	idle    time.Duration
	unread  int64
	sent    int64

	closeWait, finWait2 time.Duration // spent there; Unknown
	timeWait            time.Duration // how long it was; Unknown
	ports               *ports
}

// conns is a bounded table of connections.
type conns struct {
	max   int
	seed  maphash.Seed
	index map[connKey]uint32
	slab  []conn
	free  []uint32

	evicted uint64
}

func newConns(max int) conns {
	return conns{max: max, seed: maphash.MakeSeed(), index: map[connKey]uint32{}}
}

func (cs *conns) key(s *event.Socket) connKey {
	k := connKey{id: s.Cookie, netns: s.NetNS, local: s.Local.Port(), peer: s.Peer.Port()}
	if k.id == 0 {
		k.id = maphash.Comparable(cs.seed, event.TupleOf(s.Local, s.Peer))
	}
	return k
}

// find returns the connection, or nil. The pointer is good until the next call to add.
func (cs *conns) find(k connKey) *conn {
	if i, ok := cs.index[k]; ok {
		return &cs.slab[i]
	}
	return nil
}

// add makes a connection. When the table is full, evict gets one that has to go.
func (cs *conns) add(k connKey, evict func(*conn)) *conn {
	if len(cs.index) >= cs.max {
		for old, i := range cs.index {
			cs.evicted++
			evict(&cs.slab[i])
			cs.remove(old)
			break
		}
	}
	var i uint32
	if n := len(cs.free); n > 0 {
		i, cs.free = cs.free[n-1], cs.free[:n-1]
	} else {
		i = uint32(len(cs.slab))
		cs.slab = append(cs.slab, conn{})
	}
	cs.index[k] = i
	c := &cs.slab[i]
	*c = conn{
		key: k, timestamps: event.Unknown, idle: event.Unknown, unread: event.Unknown, sent: event.Unknown,
		closeWait: event.Unknown, finWait2: event.Unknown, timeWait: event.Unknown,
	}
	return c
}

func (cs *conns) remove(k connKey) {
	if i, ok := cs.index[k]; ok {
		cs.slab[i].ports = nil
		delete(cs.index, k)
		cs.free = append(cs.free, i)
	}
}

// drain hands out every connection, the oldest first, and forgets them.
func (cs *conns) drain(fn func(*conn)) {
	open := make([]*conn, 0, len(cs.index))
	for _, i := range cs.index {
		open = append(open, &cs.slab[i])
	}
	slices.SortFunc(open, func(a, b *conn) int {
		return cmp.Or(cmp.Compare(a.closed, b.closed), cmp.Compare(a.since, b.since), compareTuples(&a.tuple, &b.tuple))
	})
	for _, c := range open {
		fn(c)
	}
	clear(cs.index)
	cs.slab, cs.free = nil, nil
}

func compareTuples(a, b *event.Tuple) int {
	return cmp.Or(slices.Compare(a.Local[:], b.Local[:]), cmp.Compare(a.LocalPort, b.LocalPort),
		slices.Compare(a.Peer[:], b.Peer[:]), cmp.Compare(a.PeerPort, b.PeerPort))
}
