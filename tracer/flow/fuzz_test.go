// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"finwait/tracer/event"
)

// fuzzed reads samples out of any bytes, eight for each: few sockets and few moments,
// so that samples meet; every field that Decode lets through can come.
func fuzzed(data []byte) []event.Sample {
	var samples []event.Sample
	states := []event.State{
		event.Established, event.SynSent, event.SynRecv, event.FinWait1, event.FinWait2,
		event.TimeWait, event.Close, event.CloseWait, event.LastAck, event.Listen, event.Closing,
	}
	kinds := []event.Kind{
		event.KindTransition, event.KindTransition, event.KindTransition, event.KindArmed, event.KindDead, event.KindWhy,
		event.KindRefused, event.KindMiniSeen, event.KindSockSeen, event.KindRelease, event.KindConnectError,
	}
	errnos := []uint16{0, 0, 0, 0, 104, 110, 103, 99}
	now := int64(1e12)
	for ; len(data) >= 8; data = data[8:] {
		now += int64(data[0]) * int64(data[0]) * 10_000 // up to 650 ms
		n := data[1] & 7
		e := client.with(func(e *end) {
			e.cookie, e.sock, e.netns = uint64(n&3), uint64(data[1]>>5)<<12, uint32(data[1]>>3&1)+1
			if n >= 4 {
				e.local, e.peer = e.peer, e.local
			}
			if data[1]&16 != 0 {
				e.cookie = 0
			}
		})
		s := e.sample(0, kinds[int(data[2])%len(kinds)], nil)
		s.KTime = now - int64(data[7]&15)*1_000_000
		s.Old, s.New = states[int(data[3]&15)%len(states)], states[int(data[3]>>4)%len(states)]
		s.Flags = event.Flags(uint32(data[4]) | uint32(data[5])<<8&0xf00)
		s.Errno = errnos[data[5]>>5]
		s.Reason = event.Reason(data[6] % 6)
		s.Attribution = event.Attribution(data[6] >> 6)
		s.Unread = uint32(data[6] >> 3 & 1)
		switch s.Kind {
		case event.KindTransition, event.KindRelease:
			s.Since = max(0, s.KTime-int64(data[7])*1e6)
		case event.KindArmed, event.KindDead, event.KindRefused, event.KindMiniSeen:
			s.New = event.FinWait2 + event.State(data[3]&1)
			s.Jiffies = uint64(s.KTime / int64(tick))
			if data[7] < 250 {
				s.Expires = s.Jiffies + uint64(data[7])*100 - 5000 + 15000
			}
		}
		if s.Has(event.FlagOwner) {
			s.Owner = event.Owner{PID: uint32(data[6]&3) + 1, StartNS: 1}
		}
		samples = append(samples, s)
	}
	return samples
}

// invariants are what holds of a Flow at any time.
func invariants(t *testing.T, f *Flow) {
	t.Helper()
	conns, keyed, listed, indexed, alive := 0, 0, 0, 0, 0
	f.store.each(func(c *conn) {
		conns++
		if f.store.at(c.self) != c {
			t.Fatalf("connection %#x is not where it says", c.key)
		}
		if c.key != 0 {
			keyed++
			if f.byKey(c.key) != c {
				t.Fatalf("connection %#x cannot be found", c.key)
			}
		}
		if c.owner != 0 && f.procs.at(c.owner) == nil || c.next != 0 && f.procs.at(c.next) == nil || c.peer != 0 && f.procs.at(c.peer) == nil {
			t.Fatalf("connection %#x has a process that is forgotten", c.key)
		}
		if !c.isMini() {
			return
		}
		alive++
		if c.mini.listed {
			listed++
		}
		if c.mini.listed != (f.miniAt(c.mini.sock) == c) || !c.mini.listed && c.key == 0 {
			t.Fatalf("the mini-socket %#x cannot be found", c.mini.sock)
		}
	})
	if f.conns.n != keyed || f.minis.n != listed {
		t.Fatalf("%d connections have keys, %d are listed; the tables have %d and %d", keyed, listed, f.conns.n, f.minis.n)
	}
	if s := f.Stats(); s.TimeWaits != alive || s.Conns != conns || conns > f.opt.MaxConns {
		t.Fatalf("stats say %d mini-sockets, %d connections; there are %d, %d; at most %d are allowed", s.TimeWaits, s.Conns, alive, conns, f.opt.MaxConns)
	}
	f.tuples.each(func(c *conn) {
		indexed++
		if f.store.at(c.self) != c || c.hash != f.tuples.hash(&c.tuple) || f.store.at(c.older).newer != c.self {
			t.Fatalf("the index holds a connection that it should not")
		}
	})
	room := 0
	for _, n := range f.store.open {
		k := f.store.chunks[n]
		if k == nil {
			room += chunkLen
			continue
		}
		for h := k.free; h != 0; h = f.store.at(h).older {
			room++
			if c := f.store.at(h); *c != (conn{lives: c.lives, older: c.older}) {
				t.Fatalf("a connection that was forgotten is not empty: %+v", c)
			}
		}
	}
	if all := len(f.store.chunks)*chunkLen - min(1, len(f.store.chunks)); conns+room != all {
		t.Fatalf("%d connections and room for %d, of %d", conns, room, all)
	}
	if indexed > conns {
		t.Fatalf("%d indexed, of %d", indexed, conns)
	}
}

func FuzzFlow(f *testing.F) {
	f.Add([]byte{}, byte(0))
	f.Add([]byte("\x20\x01\x00\x30\x13\x00\x00\x10"+"\x10\x01\x00\x43\x11\x00\x00\x01"+"\x01\x01\x03\x00\x00\x00\x00\x40"+
		"\x01\x01\x00\x64\x08\x00\x00\x01"+"\xff\x01\x03\x01\x00\x02\x00\x50"+"\xff\x01\x04\x01\x00\x00\x01\x50"), byte(3))
	f.Add([]byte("\x01\x02\x04\x01\x00\x00\x00\x00"+"\x01\x02\x05\x00\x00\x00\x03\x00"+"\x01\x12\x07\x01\x00\x00\x00\x10"+
		"\x01\x12\x04\x01\x00\x00\x00\x10"+"\x01\x12\x03\x01\x00\x00\x00\x10"+"\x01\x03\x06\x00\x00\x00\x00\x00"), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, every byte) {
		got := &trace{close: NewCloses(5, func(c *event.CloseRecord) error {
			for s, d := range c.States {
				if d < event.Unknown {
					t.Errorf("%v in %v", d, event.State(s))
				}
			}
			return nil
		})}
		fl := New(got, Options{Tick: tick, MaxConns: 5, SegmentsSeen: every&1 != 0})
		got.check = func(tr *event.Transition) {
			if !tr.Old.Valid() || !tr.New.Valid() {
				t.Errorf("states %d→%d", tr.Old, tr.New)
			}
			if tr.Duration < event.Unknown || tr.KTime <= 0 {
				t.Errorf("a record of %d lasted %d", tr.KTime, tr.Duration)
			}
			if tr.New == event.TimeWait && tr.TimeWait != nil {
				t.Errorf("TIME_WAIT ended where it began: %s", line(tr))
			}
			if i := tr.TimeWait; i != nil && (i.Duration < event.Unknown || i.End == event.EndNone || i.Restarts < 0) {
				t.Errorf("%s", line(tr))
			}
		}
		samples := fuzzed(data[:min(len(data), 8*1024)])
		for i := range samples {
			if err := fl.Sample(&samples[i]); err != nil {
				t.Fatal(err)
			}
			if every > 0 && i%int(every) == 0 {
				if err := fl.Advance(samples[i].KTime); err != nil {
					t.Fatal(err)
				}
				if every&2 != 0 { // samples are lost, and some sockets are found to be gone
					fl.Lossy()
					for _, d := range fl.Doubts() {
						if d.Cookie&1 == 0 {
							continue
						}
						if err := fl.Ended(d, samples[i].KTime); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if i%16 == 0 || len(samples) < 100 { // they take longer than all else
				invariants(t, fl)
			}
		}
		if err := fl.Flush(); err != nil {
			t.Fatal(err)
		}
		invariants(t, fl)
		if n := fl.window.len(); n != 0 {
			t.Errorf("%d samples left after Flush", n)
		}
		if n := len(got.close.open); n > 5 {
			t.Errorf("%d connections in the close view, at most 5 are allowed", n)
		}
		if fl.Stats().Samples != uint64(len(samples)) {
			t.Errorf("%d samples counted, %d given", fl.Stats().Samples, len(samples))
		}
	})
}
