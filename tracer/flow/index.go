// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"finwait/tracer/event"
)

func isLoopback(a [16]byte) bool { return netip.AddrFrom16(a).Unmap().IsLoopback() }

// index finds connections by their 4-tuple, and the other end of a connection by itself.
// Both ends have the same hash, and what has the same hash is in one ring: so an end looks
// around instead of looking up, and compares: by chance, others have that hash as well.
// Namespaces are not part of it: the other end may be in
// another one.
type index struct {
	store *store
	seed  uint64 // unknown to whoever chooses addresses and ports
	rings table  // the newest of each; in a ring, newer ones come first
}

func newIndex(s *store, seed uint64) index { return index{store: s, seed: seed, rings: newTable()} }

func (x *index) hash(t *event.Tuple) uint32 {
	return uint32(x.end(&t.Local, t.LocalPort) + x.end(&t.Peer, t.PeerPort))
}

func (x *index) end(a *[16]byte, port uint16) uint64 {
	le := binary.LittleEndian
	h := fold(le.Uint64(a[:8])^x.seed, le.Uint64(a[8:])^0x9e3779b97f4a7c15)
	return fold(h^uint64(port), x.seed|1)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (x *index) add(c *conn) {
	c.hash = x.hash(&c.tuple)
	c.older, c.newer = c.self, c.self
	if first := x.rings.first(c.hash); first != 0 {
		older := x.store.at(first)
		c.older, c.newer = first, older.newer
		x.store.at(older.newer).older = c.self
		older.newer = c.self
		x.rings.remove(first)
	}
	x.rings.add(c.hash, c.self)
}

func (x *index) remove(c *conn) {
	if c.older == 0 {
		return // not there
	}
	if x.rings.first(c.hash) == c.self {
		x.rings.remove(c.self)
		if c.older != c.self {
			x.rings.add(c.hash, c.older)
		}
	}
	x.store.at(c.older).newer, x.store.at(c.newer).older = c.newer, c.older
	c.older, c.newer = 0, 0
}

// closing returns the connection with this 4-tuple in this namespace that a mini-socket
// may take the place of. A newer one with the same 4-tuple may be in the window already.
func (x *index) closing(t *event.Tuple, netns uint32) *conn {
	var older *conn
	first := x.rings.first(x.hash(t))
	for c := x.store.at(first); c != nil; c = x.store.at(c.older) {
		switch {
		case c.tuple != *t || c.netns != netns || c.isMini():
		case c.state == event.FinWait1 || c.state == event.FinWait2 || c.state == event.Closing:
			return c
		case c.state == event.StateUnknown && c.existed:
			older = c
		}
		if c.older == first {
			break
		}
	}
	return older
}

// peer returns the other end of c when it is on this host and there is no doubt
// about it. A loopback address means the same namespace; otherwise exactly one
// socket of this host must have the mirrored 4-tuple, and no other the same.
func (x *index) peer(c *conn) *conn {
	if c.older == 0 {
		return nil
	}
	loopback, mirrored := isLoopback(c.tuple.Peer), c.tuple.Reverse()
	var found *conn
	n, alike := 0, false
	for p := c; ; {
		if p.tuple == mirrored {
			if !loopback || p.netns == c.netns {
				n++
				found = p
			}
		} else if p != c && p.tuple == c.tuple {
			alike = true
		}
		if p = x.store.at(p.older); p == c {
			break
		}
	}
	switch {
	case n == 1 && (loopback || !alike):
		return found
	case n == 0 || !loopback:
		return nil
	}
	// Within one namespace they are of one time each: the newest.
	p := x.store.at(x.rings.first(c.hash))
	for p.tuple != mirrored || p.netns != c.netns {
		p = x.store.at(p.older)
	}
	return p
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
