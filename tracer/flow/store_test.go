// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// TestStore: connections come and go in any order; each is where it says, and is found by its
// key and no other, while the table grows and memory is given back.
func TestStore(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	f := New(&trace{}, Options{})
	s := f.store
	var live []*conn
	drop := func(i int) {
		c := live[i]
		live[i] = live[len(live)-1]
		live = live[:len(live)-1]
		key := c.key
		f.conns.remove(c.self)
		s.put(c)
		if f.byKey(key) != nil {
			t.Fatalf("%#x is found after its end", key)
		}
	}
	next := uint64(1)
	for round := range 8 {
		for len(live) < 20_000 {
			c := s.take()
			if c.key != 0 || c.older != 0 || c.newer != 0 {
				t.Fatalf("not empty: %+v", c)
			}
			if next++; round%2 == 1 {
				next = rng.Uint64() // a number of finwait's own
			}
			c.key = next
			f.conns.add(hashKey(c.key), c.self)
			live = append(live, c)
			if rng.IntN(3) == 0 {
				drop(rng.IntN(len(live)))
			}
		}
		for _, c := range live {
			if f.byKey(c.key) != c || s.at(c.self) != c {
				t.Fatalf("%#x cannot be found", c.key)
			}
		}
		n := 0
		s.each(func(*conn) { n++ })
		if n != len(live) || f.conns.n != len(live) {
			t.Fatalf("%d connections, %d in the table, of %d", n, f.conns.n, len(live))
		}
		for len(live) > 100*round {
			drop(rng.IntN(len(live)))
		}
		s.trim()
		chunks := 0
		for _, c := range s.chunks {
			if c != nil {
				chunks++
			}
		}
		if chunks > len(live)+maxIdleChunks {
			t.Errorf("%d chunks for %d connections", chunks, len(live))
		}
	}
}

// TestTableChains: the cookies that many CPUs give out, in blocks of their own, do not meet
// in few chains.
func TestTableChains(t *testing.T) {
	table := newTable()
	for cpu := range uint64(128) {
		for i := range uint64(100) {
			table.add(hashKey(cpu*4096+i+1), handle(cpu*100+i+1))
		}
	}
	longest := 0
	for _, h := range table.heads {
		n := 0
		for ; h != 0; h = table.links[h].next {
			n++
		}
		longest = max(longest, n)
	}
	if longest > 10 {
		t.Errorf("a chain of %d, of %d in %d", longest, table.n, len(table.heads))
	}
}

// TestTable: what is in a table is found, also where many have one hash, and nothing else.
func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := newTable()
	in := map[handle]uint32{}
	hashes := map[uint32]map[handle]bool{}
	for range 200_000 {
		h := handle(rng.IntN(3000) + 1)
		if hash, ok := in[h]; ok {
			table.remove(h)
			delete(in, h)
			delete(hashes[hash], h)
			continue
		}
		hash := uint32(rng.IntN(700)) * 1024
		in[h] = hash
		if hashes[hash] == nil {
			hashes[hash] = map[handle]bool{}
		}
		hashes[hash][h] = true
		table.add(hash, h)
	}
	if table.n != len(in) {
		t.Errorf("%d counted, of %d", table.n, len(in))
	}
	for hash, want := range hashes {
		got := map[handle]bool{}
		for h := table.first(hash); h != 0; h = table.next(h, hash) {
			got[h] = true
		}
		if !maps.Equal(got, want) {
			t.Errorf("hash %d: %v, want %v", hash, got, want)
		}
	}
}
