// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"
	"testing"

	"finwait/tracer/event"
)

// nowhere takes records and forgets them.
type nowhere struct{ records int }

func (n *nowhere) Transition(*event.Transition) error     { n.records++; return nil }
func (n *nowhere) ConnectError(*event.ConnectError) error { n.records++; return nil }
func (n *nowhere) Release(*event.Release) error           { n.records++; return nil }

// mill feeds a Flow connections inside this host, of which so many are in TIME_WAIT at a time.
type mill struct {
	flow  *Flow
	out   nowhere
	live  uint64
	born  uint64
	life  []event.Sample // of one connection but its TIME_WAIT's end, both ends
	death event.Sample
}

func newMill(live uint64) *mill {
	m := &mill{live: live}
	m.flow = New(&m.out, Options{Tick: tick, SegmentsSeen: true})
	client := end{cookie: 1, sock: 0x1000, netns: 1, local: "127.0.0.1:40000", peer: "127.0.0.2:80", role: event.Client}
	server := end{cookie: 2, sock: 0x2000, netns: 1, local: "127.0.0.2:80", peer: "127.0.0.1:40000", role: event.Server}
	call := flags(event.FlagCall | event.FlagClosing | event.FlagShutBoth)
	m.life = []event.Sample{
		client.step(0, event.Established, event.FinWait1, by(1), call),
		server.step(0, event.Established, event.CloseWait, cached(2)),
		client.step(0, event.FinWait1, event.FinWait2, cached(1)),
		server.step(0, event.CloseWait, event.LastAck, by(2), call),
		client.armed(0, event.TimeWait, 60000),
		client.step(0, event.FinWait2, event.Close, cached(1)),
		server.step(0, event.LastAck, event.Close, cached(2)),
	}
	m.death = client.dead(0, event.TimeWait, 60000, reason(event.ReasonExpired))
	return m
}

// feed gives s the identity of connection n and hands it over, a microsecond after the last.
func (m *mill) feed(s event.Sample, n uint64, at int64) error {
	s.KTime = at
	s.Cookie += n * 2
	s.Sock += n << 16
	for _, a := range []*[16]byte{&s.Local, &s.Peer} {
		if a[15] == 2 { // the server's: another address each time
			a[13], a[14], a[15] = byte(n>>16), byte(n>>8), byte(n)
		}
	}
	if s.Kind == event.KindTransition {
		s.Since = at - 1000
	}
	return m.flow.Sample(&s)
}

// turn lets one connection live, and the TIME_WAIT of an earlier one end.
func (m *mill) turn() error {
	m.born++
	at := int64(m.born) * 10_000
	for i := range m.life {
		if err := m.feed(m.life[i], m.born, at+int64(i)*1000); err != nil {
			return err
		}
	}
	if m.born > m.live {
		if err := m.feed(m.death, m.born-m.live, at+8000); err != nil {
			return err
		}
	}
	if m.born%64 == 0 {
		return m.flow.Advance(at + 9000)
	}
	return nil
}

// fill brings the mill to its size.
func (m *mill) fill(tb testing.TB) {
	for m.born < 2*m.live+10_000 {
		if err := m.turn(); err != nil {
			tb.Fatal(err)
		}
	}
}

// TestNothingAllocated: connections that come and go leave nothing behind.
func TestNothingAllocated(t *testing.T) {
	m := newMill(1000)
	m.fill(t)
	if n := testing.AllocsPerRun(10_000, func() {
		if err := m.turn(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a connection, want 0", n)
	}
	if err := m.flow.Flush(); err != nil {
		t.Fatal(err)
	}
	if s := m.flow.Stats(); s.TimeWaits != 1000 || s.Unmatched+s.Duplicates+s.Evicted != 0 {
		t.Errorf("%+v; want 1000 TIME_WAITs and no stray", s)
	}
	if want := 7*int(m.born) - 1000; m.out.records != want {
		t.Errorf("%d records of %d connections, want %d", m.out.records, m.born, want)
	}
}

// BenchmarkFlow has a connection, eight samples, per iteration, while so many others are in
// TIME_WAIT.
func BenchmarkFlow(b *testing.B) {
	for _, live := range []uint64{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(live), func(b *testing.B) {
			m := newMill(live)
			m.fill(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := m.turn(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
