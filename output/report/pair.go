// SPDX-License-Identifier: Apache-2.0

package report

import (
	"hash/maphash"

	"finwait/tracer/event"
)

// pairs finds the second end of a connection that has both on this host: it begins to
// close microseconds after the first, so little has to be remembered.
type pairs struct {
	seed    maphash.Seed
	waiting map[uint64]struct{}
	ring    [maxPairs]uint64 // oldest first, from next on
	next    int
}

const maxPairs = 4096

func newPairs() pairs { return pairs{seed: maphash.MakeSeed(), waiting: map[uint64]struct{}{}} }

// first reports whether this end is the first that is seen of its connection.
func (p *pairs) first(t *event.Tuple, netns uint32) bool {
	// Loopback connections stay within their namespace; others may cross.
	scope := uint32(0)
	if t.LocalAddr().Addr().IsLoopback() {
		scope = netns
	}
	type end struct {
		tuple event.Tuple
		scope uint32
	}
	mirror := maphash.Comparable(p.seed, end{t.Reverse(), scope})
	if _, ok := p.waiting[mirror]; ok {
		delete(p.waiting, mirror)
		return false
	}
	delete(p.waiting, p.ring[p.next])
	self := maphash.Comparable(p.seed, end{*t, scope})
	p.ring[p.next] = self
	p.next = (p.next + 1) % maxPairs
	p.waiting[self] = struct{}{}
	return true
}
