// SPDX-License-Identifier: Apache-2.0

package flow

// table finds connections by a hash of something of theirs. Its chains run beside the
// connections: so what is not there is found not to be there without a look at those that
// are, whose memory nobody may have touched for a minute.
//
//	for h := t.first(hash); h != 0; h = t.next(h, hash) { … }
type table struct {
	heads []handle // a power of two of them
	links []link   // by handle
	n     int
}

type link struct {
	hash uint32
	next handle
}

const leastHeads = 1024

func newTable() table { return table{heads: make([]handle, leastHeads)} }

func (t *table) head(hash uint32) *handle { return &t.heads[hash&uint32(len(t.heads)-1)] }

// first returns the first of those with a hash; 0 if there is none.
func (t *table) first(hash uint32) handle { return t.from(*t.head(hash), hash) }

// next returns the one behind h.
func (t *table) next(h handle, hash uint32) handle { return t.from(t.links[h].next, hash) }

func (t *table) from(h handle, hash uint32) handle {
	for h != 0 && t.links[h].hash != hash {
		h = t.links[h].next
	}
	return h
}

// add takes what is at h, and is not in the table; others may have the same hash.
func (t *table) add(hash uint32, h handle) {
	if t.n++; t.n > len(t.heads) {
		t.grow()
	}
	for int(h) >= len(t.links) {
		t.links = append(t.links, make([]link, chunkLen)...)
	}
	head := t.head(hash)
	t.links[h] = link{hash, *head}
	*head = h
}

func (t *table) grow() {
	old := t.heads
	t.heads = make([]handle, 2*len(old))
	for _, h := range old {
		for h != 0 {
			l := &t.links[h]
			next, head := l.next, t.head(l.hash)
			l.next, *head = *head, h
			h = next
		}
	}
}

// remove takes what is at h, and is in the table, out.
func (t *table) remove(h handle) {
	l := &t.links[h]
	at := t.head(l.hash)
	for *at != h {
		at = &t.links[*at].next
	}
	*at = l.next
	*l = link{}
	t.n--
}

// hashKey is for keys of connections. Cookies count up, and each CPU has blocks of 4096 of
// them (COOKIE_LOCAL_BATCH in include/linux/cookie.h): neighbours in a block stay
// neighbours, so that what happens at a time is in the cache, and the blocks are scattered.
func hashKey(key uint64) uint32 { return uint32(key + key>>12*0x9e3779b97f4a7c15>>20) }

// hashAddress is for kernel addresses, which have zeros at their ends.
func hashAddress(sock uint64) uint32 { return uint32(sock * 0x9e3779b97f4a7c15 >> 32) }
