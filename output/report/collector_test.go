// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"finwait/tracer/event"
)

// stream makes an endless trace without keeping it: connections of some clients to some
// services, five steps each, a minute of TIME_WAIT included.
type stream struct {
	t       *Trace
	conns   []event.Transition // alive, by the order of their end
	next    int
	cookie  uint64
	now     int64
	clients int
	peers   int
}

func newStream(t *Trace, alive, clients, peers int) *stream {
	w := newWorld(0)
	w.start.Namespaces[0].Settings["ip_local_port_range"] = "1024 65535"
	t.Start(&w.start)
	return &stream{t: t, conns: make([]event.Transition, alive), now: boot, clients: clients, peers: peers}
}

// step closes one connection and ends the oldest TIME_WAIT: four transitions.
func (s *stream) step() {
	s.cookie++
	s.now += 100_000
	old := &s.conns[s.next]
	if old.Cookie != 0 {
		old.KTime = s.now
		old.Old, old.New = event.TimeWait, event.Close
		old.Duration = time.Minute
		old.TimeWait = &event.TimeWaitInfo{Duration: time.Minute, End: event.EndExpired, Late: 4 * time.Millisecond}
		s.t.Transition(old)
	}
	n := int(s.cookie)
	*old = event.Transition{
		KTime: s.now, Duration: 20 * time.Millisecond, Attribution: event.Exact, Closer: event.CloserLocal, Method: event.MethodClose,
		Socket: event.Socket{
			Cookie: s.cookie, NetNS: netns, Family: 4, Role: event.Client,
			Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 4}), uint16(1024+n%60000)),
			Peer:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n % s.peers >> 8), byte(n % s.peers)}), 8080),
		},
		Process: event.Process{PID: uint32(1 + n%s.clients), StartNS: 1, Comm: event.MakeComm("client")},
		Idle:    time.Duration(n%2000) * time.Millisecond, Unread: 0, BytesSent: 10, BytesReceived: 10, Timestamps: 1,
	}
	for _, st := range [...][2]event.State{{event.Established, event.FinWait1}, {event.FinWait1, event.FinWait2}, {event.FinWait2, event.TimeWait}} {
		old.Old, old.New = st[0], st[1]
		s.t.Transition(old)
		old.Idle = event.Unknown
	}
	s.next = (s.next + 1) % len(s.conns)
}

func BenchmarkTransition(b *testing.B) {
	for _, alive := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("alive=%d", alive), func(b *testing.B) {
			s := newStream(New(Options{}).Trace("bench"), alive, 16, 300)
			for range alive {
				s.step()
			}
			before, used := s.t.records, processor()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				s.step()
			}
			// Of processor time: other work on this machine does not count.
			b.ReportMetric(float64(s.t.records-before)/(processor()-used).Seconds(), "transitions/s")
		})
	}
}

// processor is the processor time that this process has used.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemory: ten times the trace, the same memory, though peers, programs and
// connections never repeat.
func TestMemory(t *testing.T) {
	opt := Options{MaxConns: 2000, MaxGroups: 200, MaxBudgets: 100, MaxPrograms: 50}
	c := New(opt)
	s := newStream(c.Trace("long"), 5000, 1_000_000, 65536)
	feed := func(n int) {
		for range n {
			s.step()
			if s.cookie%7 == 0 {
				e := event.ConnectError{KTime: s.now, Errno: 99, Socket: s.conns[0].Socket, Process: s.conns[0].Process}
				e.Local = netip.AddrPortFrom(e.Local.Addr(), 0)
				s.t.ConnectError(&e)
			}
		}
	}
	feed(20_000)
	before := heap()
	feed(200_000)
	after := heap()
	if after > before+before/4+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes with the length of the trace", before, after)
	}
	r := c.Report()
	if r.Limits.Connections == 0 || r.Limits.Peers == 0 || r.Limits.Budgets == 0 {
		t.Errorf("what did not fit was not counted: %+v", r.Limits)
	}
	if want := uint64(220_000); r.Totals.Connections != want {
		t.Errorf("%d connections, want %d", r.Totals.Connections, want)
	}
	runtime.KeepAlive(s)
}
