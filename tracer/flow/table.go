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
		if c = f.byKey(s.Cookie); c != nil && c.mini != nil && c.mini.sock == s.Sock && c.tuple == s.Tuple && c.netns == s.NetNS {
			return c
		}
	}
	if c := f.minis[s.Sock]; c != nil && c.tuple == s.Tuple && c.netns == s.NetNS {
		return c
	}
	if s.Cookie == 0 {
		return f.tuples.closing(&s.Tuple, s.NetNS)
	}
	if c != nil && c.mini != nil && c.mini.sock != s.Sock {
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
	c := f.take()
	c.key, c.cookie, c.tuple, c.netns, c.family = key(s), s.Cookie, s.Tuple, s.NetNS, s.Family
	c.bytesSent, c.bytesReceived, c.timestamps = event.Unknown, event.Unknown, event.Unknown
	switch other := f.conns[c.key]; {
	case s.Kind.Mini() && (other != nil || s.Cookie == 0):
		c.key = 0 // the socket, if there is one, has another connection by now
	case other != nil && other.mini != nil:
		f.leave(other) // the full socket's address serves another one by now
	case other != nil:
		f.forget(other)
		f.stats.Evicted++
	}
	if c.key != 0 {
		f.conns[c.key] = c
		f.recent[c.key%recent] = c
	}
	f.tuples.add(c)
	f.stats.Conns++
	return c
}

// recent is how many connections byKey remembers: a power of two. Cookies count up, and what
// happens to a connection happens within milliseconds, so most of the time one of them it is.
const recent = 4096

// byKey is f.conns[key].
func (f *Flow) byKey(key uint64) *conn {
	if c := f.recent[key%recent]; c != nil && c.key == key && key != 0 {
		return c
	}
	c := f.conns[key]
	if c != nil {
		f.recent[key%recent] = c
	}
	return c
}

// replace puts a mini-socket in the place of the full one.
func (f *Flow) replace(c *conn, s *event.Sample, m mini) {
	if c.mini == nil {
		f.stats.TimeWaits++
	} else if c.mini.listed {
		delete(f.minis, c.mini.sock)
	}
	c.room, c.mini = m, &c.room
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
	if other := f.minis[c.mini.sock]; other != nil && other != c {
		f.forget(other) // its end was lost: two cannot have one address
		f.stats.Evicted++
	}
	c.mini.listed = true
	f.minis[c.mini.sock] = c
}

// reopen begins another connection of the same socket: its descriptor outlived the first
// one, and connect() used it again. The cookie is the socket's, so both have it; where the
// first lives on as a mini-socket, it goes by its address alone from now on.
func (f *Flow) reopen(c *conn, s *event.Sample) *conn {
	next, nextKnown := c.next, c.nextKnown
	if c.mini == nil {
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
	delete(f.conns, c.key)
	f.tuples.remove(c)
	c.key = 0
	if !c.mini.listed {
		f.list(c)
	}
}

// each calls fn with every connection, in no order.
func (f *Flow) each(fn func(*conn)) {
	for _, c := range f.conns {
		fn(c)
	}
	for _, c := range f.minis {
		if c.key == 0 {
			fn(c)
		}
	}
}

// evict drops some connection: Go's map order is as good as any here, and the loss is counted.
func (f *Flow) evict() {
	f.stats.Evicted++
	for _, c := range f.conns {
		f.forget(c)
		return
	}
	for _, c := range f.minis {
		f.forget(c)
		return
	}
}

func (f *Flow) forget(c *conn) {
	if c.mini != nil {
		if c.mini.listed {
			delete(f.minis, c.mini.sock)
		}
		f.stats.TimeWaits--
	}
	f.tuples.remove(c)
	f.ends.remove(c)
	if c.key != 0 {
		delete(f.conns, c.key)
	}
	f.stats.Conns--
	*c = conn{lives: c.lives + 1}
	if len(f.spare) < maxSpare {
		f.spare = append(f.spare, c)
	}
}

// maxSpare is how many forgotten connections are kept to be used again: more than come
// within the window, fewer than a burst of ends would leave behind.
const maxSpare = 8192

// take returns an empty connection.
func (f *Flow) take() *conn {
	n := len(f.spare)
	if n == 0 {
		return &conn{}
	}
	c := f.spare[n-1]
	f.spare = f.spare[:n-1]
	return c
}
