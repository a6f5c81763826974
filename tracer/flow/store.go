// SPDX-License-Identifier: Apache-2.0

package flow

// handle numbers a place in a store; 0 is none.
type handle uint32

// store is the memory of connections. They refer to each other by handle and to processes
// by number, so there is no pointer in them: the garbage collector has nothing to look for
// there, however many TIME_WAITs there are.
type store struct {
	chunks []*chunk // nil: given back
	open   []uint32 // which of them have room, given back ones included; the last is used first
	victim handle   // where the last one was evicted
}

// chunk is what is allocated at a time.
type chunk struct {
	conns [chunkLen]conn
	free  handle // the first that is; it knows the next one
	used  int
}

const (
	chunkLen = 256 // a power of two; with what is beside them, six pages of 8 KB
	// maxIdleChunks is how many empty chunks are kept to be used again: 1.5 MB.
	maxIdleChunks = 32
)

// at returns what is at h; nil if there is no such place.
func (s *store) at(h handle) *conn {
	if h == 0 {
		return nil
	}
	c := s.chunks[h/chunkLen]
	if c == nil {
		return nil
	}
	return &c.conns[h%chunkLen]
}

// take returns an empty connection.
func (s *store) take() *conn {
	if len(s.open) == 0 {
		s.open = append(s.open, uint32(len(s.chunks)))
		s.chunks = append(s.chunks, nil)
	}
	last := len(s.open) - 1
	n := s.open[last]
	k := s.chunks[n]
	if k == nil {
		k = newChunk(n)
		s.chunks[n] = k
	}
	h := k.free
	c := &k.conns[h%chunkLen]
	k.free, c.older = c.older, 0
	c.self = h
	if k.used++; k.free == 0 {
		s.open = s.open[:last]
	}
	return c
}

func newChunk(n uint32) *chunk {
	k := &chunk{}
	first := 0
	if n == 0 {
		first = 1 // its handle would be 0
	}
	for i := chunkLen - 1; i >= first; i-- {
		k.conns[i].older, k.free = k.free, handle(n)*chunkLen+handle(i)
	}
	return k
}

// put takes c back. Its memory knows that it has been one more.
func (s *store) put(c *conn) {
	n := uint32(c.self / chunkLen)
	k := s.chunks[n]
	if k.free == 0 {
		s.open = append(s.open, n)
	}
	h := c.self
	*c = conn{lives: c.lives + 1, older: k.free}
	k.free = h
	k.used--
}

// trim gives most of what is not used back, and has chunks with something in them used
// first, so that others become empty.
func (s *store) trim() {
	idle := 0
	for n, k := range s.chunks {
		if k == nil || k.used > 0 {
			continue
		}
		if idle++; idle > maxIdleChunks {
			s.chunks[n] = nil
		}
	}
	s.open = s.open[:0]
	for _, want := range []func(*chunk) bool{
		func(k *chunk) bool { return k == nil },
		func(k *chunk) bool { return k != nil && k.used == 0 },
		func(k *chunk) bool { return k != nil && k.used > 0 && k.free != 0 },
	} {
		for n, k := range s.chunks {
			if want(k) {
				s.open = append(s.open, uint32(n))
			}
		}
	}
}

// each calls fn with every connection, in no order. fn may not put any.
func (s *store) each(fn func(*conn)) {
	for _, k := range s.chunks {
		if k == nil || k.used == 0 {
			continue
		}
		for i := range k.conns {
			if c := &k.conns[i]; c.self != 0 {
				fn(c)
			}
		}
	}
}

// some returns any connection, another one each time; nil if there is none.
func (s *store) some() *conn {
	end := handle(len(s.chunks)) * chunkLen
	for range end {
		if s.victim++; s.victim >= end {
			s.victim = 1
		}
		if c := s.at(s.victim); c != nil && c.self != 0 {
			return c
		}
	}
	return nil
}
