// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"runtime"
	"testing"

	"finwait/tracer/event"
)

// crowd is one of many sockets, and from turns a sample of it into another one's.
func crowd(i int) end {
	return client.with(func(e *end) { e.cookie, e.sock = uint64(i+1), uint64(i+1)<<16 })
}

func from(i int) mod {
	return func(s *event.Sample) {
		binary.BigEndian.PutUint16(s.Peer[14:], uint16(i>>14))
		s.PeerPort = uint16(i&(1<<14-1)) + 1024
	}
}

// heap is what is in use after everything that is not has been thrown away.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bytesEach is how much memory a TIME_WAIT may take here. The README's limit of connections
// times this is what user space needs at most.
const bytesEach = 700

// TestMillion follows a million TIME_WAITs to their end, twice: memory has a bound, and
// does not grow when they are over.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const n = 1_000_000
	ended := 0
	f := New(transitions(func(tr *event.Transition) {
		if tr.New == event.Close {
			ended++
		}
	}), Options{Tick: tick, SegmentsSeen: true})
	before := heap()
	var peaks, rests [2]uint64
	for round := range peaks {
		base := ms(round) * 200_000
		pass := func(sample func(i int) event.Sample) {
			for i := range n {
				s := sample(i)
				if err := f.Sample(&s); err != nil {
					t.Fatal(err)
				}
				if i%10_000 == 0 {
					if err := f.Advance(s.KTime); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		pass(func(i int) event.Sample {
			return crowd(i).armed(base+1000+ms(i/100), event.TimeWait, base+61_000+ms(i/100), from(i))
		})
		if err := f.Advance(ktime(base + 12_000)); err != nil {
			t.Fatal(err)
		}
		if s := f.Stats(); s.TimeWaits != n || s.Evicted != 0 {
			t.Fatalf("%+v", s)
		}
		peaks[round] = heap() - before
		pass(func(i int) event.Sample {
			return crowd(i).dead(base+62_000+ms(i/100), event.TimeWait, base+61_000+ms(i/100), reason(event.ReasonExpired), from(i))
		})
		if err := f.Advance(ktime(base + 80_000)); err != nil {
			t.Fatal(err)
		}
		if s := f.Stats(); s.TimeWaits != 0 || s.Conns != 0 || s.Evicted+s.Overdue != 0 {
			t.Fatalf("%+v", s)
		}
		rests[round] = heap() - before
	}
	if ended != len(peaks)*n {
		t.Errorf("%d ended, want %d", ended, len(peaks)*n)
	}
	t.Logf("%d bytes each at the peak; peaks %d, after the end %d", peaks[0]/n, peaks, rests)
	for round := range peaks {
		if peaks[round] > n*bytesEach {
			t.Errorf("round %d: %d bytes for each, at most %d are allowed", round, peaks[round]/n, bytesEach)
		}
		// The tables keep their room for the next time, and need no more then.
		if peaks[round] > peaks[0]+peaks[0]/10 || rests[round] > peaks[0] || rests[round] > rests[0]+rests[0]/10+1<<20 {
			t.Errorf("it grows: peaks %d, after the end %d", peaks, rests)
		}
	}
	runtime.KeepAlive(f)
}

// TestListedLate: what existed at the start is listed while the ring already fills, so much
// that is older than the list is read after it. That once took time by the product of both.
func TestListedLate(t *testing.T) {
	const listed, waiting = 60_000, 60_000
	last, n := int64(0), 0
	f := New(transitions(func(tr *event.Transition) {
		if tr.KTime < last {
			t.Errorf("%d after %d", tr.KTime, last)
		}
		last = tr.KTime
		n++
	}), Options{Tick: tick})
	for i := range listed {
		s := crowd(i).mini(5000+ms(i)/1000, event.KindMiniSeen, event.TimeWait, 40_000, from(i))
		if err := f.Sample(&s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range waiting {
		s := crowd(listed+i).step(1000+ms(i)/10, event.Established, event.FinWait1, flags(closing), by(5), from(listed+i))
		if err := f.Sample(&s); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); n != waiting || s.TimeWaits != listed || s.Conns != listed+waiting {
		t.Errorf("%d rows, %+v", n, s)
	}
}

// TestTooMany: more than are allowed are not followed, and each that is dropped is counted.
func TestTooMany(t *testing.T) {
	const most, n = 1000, 50_000
	f := New(transitions(func(*event.Transition) {}), Options{Tick: tick, MaxConns: most})
	for i := range n {
		s := crowd(i).armed(1000+ms(i/100), event.TimeWait, 61_000+ms(i/100), from(i))
		if err := f.Sample(&s); err != nil {
			t.Fatal(err)
		}
		if err := f.Advance(s.KTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); s.Conns != most || s.TimeWaits != most || s.Evicted != n-most || s.Born != n {
		t.Errorf("%+v", s)
	}
}

// TestProcessAgain: a process id has a new owner. Neither is taken for the other, whichever
// name it goes by.
func TestProcessAgain(t *testing.T) {
	var pids []uint64
	f := New(transitions(func(tr *event.Transition) { pids = append(pids, tr.Process.StartNS) }), Options{Tick: tick})
	var samples []event.Sample
	for i := range 6 {
		s := crowd(i).step(ms(10+i), event.Established, event.FinWait1, flags(closing), by(7), from(i))
		s.Owner.StartNS = uint64(1 + i%2)
		samples = append(samples, s)
	}
	run(t, f, 1, samples)
	for i, start := range pids {
		if start != uint64(1+i%2) {
			t.Errorf("row %d is put down to the process that started at %d", i, start)
		}
	}
	if len(pids) != len(samples) {
		t.Errorf("%d rows", len(pids))
	}
}

// transitions is a Handler of transitions alone.
type transitions func(*event.Transition)

func (fn transitions) Transition(t *event.Transition) error { fn(t); return nil }

func (transitions) ConnectError(*event.ConnectError) error { return nil }

func (transitions) Release(*event.Release) error { return nil }
