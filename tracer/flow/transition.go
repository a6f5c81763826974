// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"syscall"
	"time"

	"finwait/tracer/event"
)

// transition is a step of the full socket.
func (f *Flow) transition(s *event.Sample) error {
	c := f.known
	if c == nil {
		c = f.open(s)
	}
	if c.again(s) {
		c = f.reopen(c, s)
	}
	if c.state == s.New && s.Old != s.New {
		f.stats.Duplicates++
		return nil
	}
	if c.state != event.StateUnknown && c.state != s.Old && !c.isMini() {
		c.incomplete = true
	}
	if c.state == event.StateUnknown && f.lossy && !c.existed && midway(s.Old) {
		c.incomplete = true
	}
	c.role, c.sock = s.Role, s.Sock
	if s.Has(event.FlagOwner) {
		c.owner, c.attribution = f.who, s.Attribution
	} else {
		c.owner, c.attribution = f.procs.nobody(s.Cgroup), event.AttributionUnknown
	}
	c.bytesSent, c.bytesReceived, c.timestamps = int64(s.BytesSent), int64(s.BytesReceived), 0
	if s.Has(event.FlagTimestamps) {
		c.timestamps = 1
	}
	by := call(s)
	connecting := s.Old == event.SynSent || s.Old == event.SynRecv
	first := c.closer == event.CloserUnknown && !(connecting && s.New == event.Close)
	if first {
		c.closer, c.method = verdict(s, by)
	} else if s.New == event.Closing {
		c.closer = event.CloserBoth
	}
	since := s.Since
	if since == 0 {
		since = c.since
	}
	c.state, c.since = s.New, s.KTime
	if s.New == event.Close {
		c.closed = s.KTime
	}

	if s.New == event.Close && c.isMini() {
		// tcp_time_wait() has put a mini-socket in this socket's place: what the
		// tracepoint calls the end is not.
		c.gone = true
		f.tuples.remove(c) // a new connection may get the 4-tuple now
		c.state, c.since = c.mini.state, since
		if c.mini.state == event.TimeWait {
			c.since = c.mini.entered
		}
		return nil
	}

	t := f.begin(c, s.KTime)
	t.Old, t.New, t.Call = s.Old, s.New, by
	t.Duration = span(since, s.KTime)
	t.Errno = s.Errno
	if first {
		t.Idle = time.Duration(s.IdleJiffies) * f.opt.Tick
	}
	if by != event.MethodUnknown && s.Has(event.FlagShutBoth) {
		t.Unread = int64(s.Unread)
	}
	if s.New != event.Close {
		return f.out.Transition(t)
	}
	if s.Errno == 0 {
		f.withoutTimeWait(c, s, t)
	}
	f.countEnd(s, t)
	if noLocalPort(s, by) {
		t.Errno = uint16(syscall.EADDRNOTAVAIL)
	}
	err := f.out.Transition(t)
	if s.Old == event.SynSent && t.Errno != 0 && err == nil {
		err = f.out.ConnectError(&event.ConnectError{KTime: s.KTime, Socket: t.Socket, Process: t.Process, Errno: t.Errno})
	}
	if !f.held(s) {
		f.forget(c)
	}
	return err
}

// midway: a state that only a closing step leads to.
func midway(s event.State) bool {
	switch s {
	case event.FinWait1, event.FinWait2, event.CloseWait, event.LastAck, event.Closing:
		return true
	}
	return false
}

// noLocalPort: back from SYN_SENT in the caller's own context, without an error on the
// socket and without a local port: inet_hash_connect() found none.
func noLocalPort(s *event.Sample, by event.Method) bool {
	return s.Old == event.SynSent && s.Has(event.FlagCall) && by == event.MethodUnknown && s.Errno == 0 && s.LocalPort == 0
}

// held: the connection is dead, but a descriptor still refers to its socket. The
// kernel side reports the release of just these.
func (f *Flow) held(s *event.Sample) bool {
	return s.Errno != 0 && s.Flags&(event.FlagCall|event.FlagOrphan) == 0 && s.Old != event.SynSent && s.Old != event.SynRecv
}

// withoutTimeWait explains a socket that left FIN_WAIT2 or CLOSING for CLOSE without a
// mini-socket and without an error.
func (f *Flow) withoutTimeWait(c *conn, s *event.Sample, t *event.Transition) {
	if s.Old != event.FinWait2 && s.Old != event.Closing && s.Old != event.FinWait1 {
		return
	}
	orphan := s.Has(event.FlagOrphan) && s.Old == event.FinWait2
	switch t.Call {
	case event.MethodUnknown:
	case event.MethodClose, event.MethodExit:
		// tcp_close() of a socket that shutdown() had left in FIN_WAIT2 asks for a mini-socket too.
		orphan = false
	default:
		return // the call sent an RST
	}
	switch {
	case c.refused:
		f.overflow(t)
	case f.lossy:
		t.Incomplete = true // there may be a mini-socket, whose birth was lost
	case orphan && s.Has(event.FlagLinger2):
		t.Call = event.MethodLinger2
	case s.Has(event.FlagFull):
		f.overflow(t)
	case orphan:
		// tcp_rcv_state_process(): data for a socket that nobody can read any more.
		t.Call = event.MethodDataAfterClose
	}
}

func (f *Flow) overflow(t *event.Transition) {
	f.stats.Refused++
	f.info = event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown}
	t.TimeWait = &f.info
}

// connectError is the errno that connect() returned, just after its SYN_SENT → CLOSE.
func (f *Flow) connectError(s *event.Sample) error {
	if s.LocalPort == 0 {
		return nil // reported with the transition
	}
	e := event.ConnectError{KTime: s.KTime, Errno: s.Errno, Socket: event.Socket{
		Cookie: s.Cookie, NetNS: s.NetNS, Family: s.Family, Local: s.LocalAddr(), Peer: s.PeerAddr(), Role: event.Client,
	}}
	if s.Has(event.FlagOwner) {
		e.Process = *f.procs.at(f.procs.intern(s))
	}
	return f.out.ConnectError(&e)
}

// release is the owner's close() of a socket that had died before.
func (f *Flow) release(s *event.Sample) error {
	r := event.Release{KTime: s.KTime, Held: span(s.Since, s.KTime)}
	c := f.find(s)
	if c == nil {
		r.Socket = event.Socket{Cookie: s.Cookie, NetNS: s.NetNS, Family: s.Family, Local: s.LocalAddr(), Peer: s.PeerAddr(), Role: s.Role}
	} else {
		r.Socket = c.socket()
		if !c.isMini() {
			f.forget(c)
		}
	}
	if s.Has(event.FlagOwner) {
		r.Process = *f.procs.at(f.procs.intern(s))
	}
	return f.out.Release(&r)
}
