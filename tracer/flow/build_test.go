// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"finwait/tracer/event"
)

const tick = 4 * time.Millisecond

// ms is a moment of a scenario, or a length of time, in milliseconds.
type ms = float64

func ktime(t ms) int64 { return int64(t * 1e6) }

// jiffies is the kernel's clock at a moment of a scenario.
func jiffies(t ms) uint64 { return 4_294_000_000 + uint64(t*1e6)/uint64(tick) }

// end is one end of a connection; its methods build the samples that are about it.
type end struct {
	cookie, sock uint64
	netns        uint32
	local, peer  string
	role         event.Role
}

func (e end) sample(t ms, kind event.Kind, mods []mod) event.Sample {
	local, peer := netip.MustParseAddrPort(e.local), netip.MustParseAddrPort(e.peer)
	s := event.Sample{
		KTime: ktime(t), Cookie: e.cookie, Sock: e.sock, Kind: kind, NetNS: e.netns,
		Tuple: event.TupleOf(local, peer), Family: 4, Role: e.role,
	}
	if peer.Addr().Is6() {
		s.Family = 6
	}
	for _, m := range mods {
		m(&s)
	}
	return s
}

func (e end) step(t ms, old, new event.State, mods ...mod) event.Sample {
	s := e.sample(t, event.KindTransition, mods)
	s.Old, s.New = old, new
	return s
}

// mini is a sample about the mini-socket, whose timer expires at the moment given; 0: not known.
func (e end) mini(t ms, kind event.Kind, state event.State, expires ms, mods ...mod) event.Sample {
	e.sock += 0x8000
	s := e.sample(t, kind, mods)
	s.New, s.Jiffies = state, jiffies(t)
	if expires != 0 {
		s.Expires = jiffies(expires)
	}
	return s
}

func (e end) armed(t ms, state event.State, expires ms, mods ...mod) event.Sample {
	return e.mini(t, event.KindArmed, state, expires, mods...)
}

func (e end) dead(t ms, state event.State, expires ms, mods ...mod) event.Sample {
	return e.mini(t, event.KindDead, state, expires, mods...)
}

func (e end) why(t ms, r event.Reason) event.Sample {
	return e.mini(t, event.KindWhy, event.StateUnknown, 0, reason(r))
}

func (e end) with(change func(*end)) end {
	change(&e)
	return e
}

type mod func(*event.Sample)

func flags(f event.Flags) mod     { return func(s *event.Sample) { s.Flags |= f } }
func in(state event.State) mod    { return func(s *event.Sample) { s.New = state } }
func since(t ms) mod              { return func(s *event.Sample) { s.Since = ktime(t) } }
func errno(n uint16) mod          { return func(s *event.Sample) { s.Errno = n } }
func unread(n uint32) mod         { return func(s *event.Sample) { s.Unread = n } }
func idle(t ms) mod               { return func(s *event.Sample) { s.IdleJiffies = uint32(ktime(t) / int64(tick)) } }
func reason(r event.Reason) mod   { return func(s *event.Sample) { s.Reason = r } }
func successor(cookie uint64) mod { return func(s *event.Sample) { s.Successor = cookie } }
func bytes(sent, received int) mod {
	return func(s *event.Sample) { s.BytesSent, s.BytesReceived = uint64(sent), uint64(received) }
}
func fromPort(port uint16) mod { return func(s *event.Sample) { s.LocalPort = port } }
func killed(signal uint32) mod { return func(s *event.Sample) { s.Owner.ExitCode = signal } }

func owned(pid uint32, a event.Attribution) mod {
	return func(s *event.Sample) {
		s.Flags |= event.FlagOwner
		s.Attribution = a
		s.Owner = event.Owner{PID: pid, TID: pid, StartNS: 7, Comm: event.MakeComm("p")}
	}
}

func by(pid uint32) mod     { return owned(pid, event.Exact) }
func cached(pid uint32) mod { return owned(pid, event.Cached) }

// What the kernel side reports of the local calls, as tcp_close() and inet_shutdown() leave the socket.
const (
	closing  = event.FlagCall | event.FlagClosing | event.FlagShutBoth
	exiting  = closing | event.FlagExiting
	shutting = event.FlagCall
)

// trace records what a Flow hands out, one line for each record, in words short
// enough to read a whole connection at a glance.
type trace struct {
	lines []string
	last  event.Transition
	close *Closes // fed with the records, if set
	check func(*event.Transition)
}

func (tr *trace) Transition(t *event.Transition) error {
	tr.lines = append(tr.lines, line(t))
	tr.last = *t
	if tr.check != nil {
		tr.check(t)
	}
	if tr.close != nil {
		return tr.close.Transition(t)
	}
	return nil
}

func (tr *trace) ConnectError(e *event.ConnectError) error {
	tr.lines = append(tr.lines, fmt.Sprintf("%s connect %v→%v pid=%d %s", at(e.KTime), e.Local, e.Peer, e.Process.PID, event.ErrnoName(e.Errno)))
	return nil
}

func (tr *trace) Release(r *event.Release) error {
	tr.lines = append(tr.lines, fmt.Sprintf("%s release %d held=%s pid=%d", at(r.KTime), r.Cookie, length(r.Held), r.Process.PID))
	if tr.close != nil {
		return tr.close.Release(r)
	}
	return nil
}

func at(ktime int64) string { return fmt.Sprintf("%g", float64(ktime)/1e6) }

func length(d time.Duration) string {
	if d == event.Unknown {
		return "?"
	}
	return fmt.Sprintf("%g", float64(d)/1e6)
}

func line(t *event.Transition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s→%s %s", at(t.KTime), t.Cookie, t.Old, t.New, length(t.Duration))
	word := func(format string, set bool, args ...any) {
		if set {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	word("pid=%d/%s", t.Process.Known(), t.Process.PID, t.Attribution)
	word("sig=%d", t.Process.Signal != 0, t.Process.Signal)
	word("peer=%d", t.PeerProcess.Known(), t.PeerProcess.PID)
	word("%s", t.Closer != event.CloserUnknown, t.Closer)
	word("by %s", t.Method != event.MethodUnknown, t.Method)
	word("call=%s", t.Call != event.MethodUnknown, t.Call)
	word("idle=%s", t.Idle > 0, length(t.Idle))
	word("unread=%d", t.Unread > 0, t.Unread)
	word("%s", t.Errno != 0, event.ErrnoName(t.Errno))
	if i := t.TimeWait; i != nil {
		word("[%s %s", true, i.End, length(i.Duration))
		word("late=%s", i.Late != event.Unknown, length(i.Late))
		word("restarts=%d", i.Restarts != 0, i.Restarts)
		word("inferred", i.Inferred)
		word("successor=%d/%d", i.SuccessorCookie != 0 || i.Successor.Known(), i.SuccessorCookie, i.Successor.PID)
		b.WriteString("]")
	}
	word("orphan=%s", t.Orphan != event.EndNone, t.Orphan)
	word("existed", t.Existed)
	word("incomplete", t.Incomplete)
	return b.String()
}

// run hands the samples over as the tracer does: in portions, each followed by Advance.
func run(t *testing.T, f *Flow, every ms, samples []event.Sample) {
	t.Helper()
	next := int64(0)
	for i := range samples {
		if err := f.Sample(&samples[i]); err != nil {
			t.Fatal(err)
		}
		if k := samples[i].KTime; k >= next {
			next = k + ktime(every)
			// A sample may still come that is a little older than the newest.
			if err := f.Advance(k - ktime(1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
}

// leftovers lists what a Flow still holds on to.
func leftovers(f *Flow) map[string]int {
	held := map[string]int{"conns": f.conns.n, "minis": f.minis.n, "tuples": f.tuples.rings.n}
	held["window"] = f.window.len()
	for k, n := range held {
		if n == 0 {
			delete(held, k)
		}
	}
	return held
}

// each calls fn with every connection in the index.
func (x *index) each(fn func(*conn)) {
	for _, h := range x.rings.heads {
		for ; h != 0; h = x.rings.links[h].next {
			for c := x.store.at(h); ; {
				fn(c)
				if c = x.store.at(c.older); c.self == h {
					break
				}
			}
		}
	}
}
