// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"

	"finwait/tracer/event"
)

// How a sample finds its connection.

// key identifies a socket.
func key(s *event.Sample) uint64 {
	if s.Cookie != 0 {
		return s.Cookie
	}
	return namelessKey(s)
}

// namelessKey stands for the cookie of a socket that has none: its address and its ends,
// because addresses come again, sooner than the last samples of who had them before.
// Cookies are small numbers, or have the top bit set where finwait gives them.
func namelessKey(s *event.Sample) uint64 {
	const odd = 0x9E3779B97F4A7C15
	h := s.Sock ^ uint64(s.LocalPort)<<48 ^ uint64(s.PeerPort)<<32
	for i := 0; i < 16; i += 8 {
		h = (h ^ binary.NativeEndian.Uint64(s.Local[i:])) * odd
		h = (h ^ binary.NativeEndian.Uint64(s.Peer[i:])) * odd
	}
	return h>>2 | 1<<62
}

// find returns the connection that s is about. A mini-socket goes by its address once it is
// born. At its birth it has its socket's cookie; kernels before 5.12 give none to tracing
// programs, and there the 4-tuple joins the two.
func (f *Flow) find(s *event.Sample) *conn {
	if !s.Kind.Mini() {
		c := f.byKey(key(s))
		if c == nil && s.Cookie>>63 != 0 {
			c = f.byKey(namelessKey(s)) // numbered late: the kernel side had no room for it before
		}
		return c
	}
	var c *conn
	if s.Cookie != 0 {
		if c = f.byKey(s.Cookie); c != nil && c.isMini() && c.mini.sock == s.Sock && c.tuple == s.Tuple && c.netns == s.NetNS {
			return c
		}
	}
	if c := f.miniAt(s.Sock); c != nil && c.tuple == s.Tuple && c.netns == s.NetNS {
		return c
	}
	if s.Cookie == 0 {
		return f.tuples.closing(&s.Tuple, s.NetNS)
	}
	if c != nil && c.isMini() && c.mini.sock != s.Sock {
		return nil // the connection before, or after, this one
	}
	return c
}

func (f *Flow) open(s *event.Sample) *conn {
	if c := f.find(s); c != nil {
		return c
	}
	if f.stats.Conns >= f.opt.MaxConns {
		f.evict()
	}
	c := f.store.take()
	c.key, c.cookie, c.tuple, c.netns, c.family = key(s), s.Cookie, s.Tuple, s.NetNS, s.Family
	c.bytesSent, c.bytesReceived, c.timestamps = event.Unknown, event.Unknown, event.Unknown
	switch other := f.byKey(c.key); {
	case s.Kind.Mini() && (other != nil || s.Cookie == 0):
		c.key = 0 // the socket, if there is one, has another connection by now
	case other != nil && other.isMini():
		f.leave(other) // the full socket's address serves another one by now
	case other != nil:
		f.forget(other)
		f.stats.Evicted++
	}
	if c.key != 0 {
		f.conns.add(hashKey(c.key), c.self)
	}
	f.tuples.add(c)
	f.stats.Conns++
	return c
}

// byKey returns the connection with a key; nil if there is none.
func (f *Flow) byKey(key uint64) *conn {
	hash := hashKey(key)
	for h := f.conns.first(hash); h != 0; h = f.conns.next(h, hash) {
		if c := f.store.at(h); c.key == key {
			return c
		}
	}
	return nil
}

// miniAt returns the connection whose mini-socket is listed at an address; nil if there is none.
func (f *Flow) miniAt(sock uint64) *conn {
	hash := hashAddress(sock)
	for h := f.minis.first(hash); h != 0; h = f.minis.next(h, hash) {
		if c := f.store.at(h); c.mini.sock == sock {
			return c
		}
	}
	return nil
}

// replace puts a mini-socket in the place of the full one.
func (f *Flow) replace(c *conn, s *event.Sample, m mini) {
	if !c.isMini() {
		f.stats.TimeWaits++
	} else if c.mini.listed {
		f.minis.remove(c.self)
	}
	c.mini = m
	// Where ends that were lost are noticed in time, the key is enough; if it is the kernel's:
	// a number of finwait's own is not in the mini-socket.
	if c.key == 0 || c.key != s.Cookie || s.Cookie>>63 != 0 || !f.opt.SegmentsSeen || f.opt.NamelessSegments {
		f.list(c)
	}
	if f.opt.NamelessSegments {
		f.ends.remove(c)
		f.ends.add(c)
	}
}

// list makes a mini-socket known by its address.
func (f *Flow) list(c *conn) {
	if other := f.miniAt(c.mini.sock); other != nil && other != c {
		f.forget(other) // its end was lost: two cannot have one address
		f.stats.Evicted++
	}
	c.mini.listed = true
	f.minis.add(hashAddress(c.mini.sock), c.self)
}

// reopen begins another connection of the same socket: its descriptor outlived the first
// one, and connect() used it again. The cookie is the socket's, so both have it; where the
// first lives on as a mini-socket, it goes by its address alone from now on.
func (f *Flow) reopen(c *conn, s *event.Sample) *conn {
	next, nextKnown := c.next, c.nextKnown
	if !c.isMini() {
		f.forget(c)
	} else {
		f.leave(c)
	}
	again := f.open(s)
	again.next, again.nextKnown = next, nextKnown
	return again
}

// leave makes a connection go by its mini-socket alone.
func (f *Flow) leave(c *conn) {
	f.conns.remove(c.self)
	f.tuples.remove(c)
	c.key = 0
	if !c.mini.listed {
		f.list(c)
	}
}

// evict drops some connection. Which one does not matter: the loss is counted.
func (f *Flow) evict() {
	f.stats.Evicted++
	if c := f.store.some(); c != nil {
		f.forget(c)
	}
}

func (f *Flow) forget(c *conn) {
	if c.isMini() {
		if c.mini.listed {
			f.minis.remove(c.self)
		}
		f.stats.TimeWaits--
	}
	f.tuples.remove(c)
	f.ends.remove(c)
	if c.key != 0 {
		f.conns.remove(c.self)
	}
	f.stats.Conns--
	f.store.put(c)
}
