// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"sort"

	"finwait/tracer/event"
)

// Closes adds the transitions of each connection up to one record, handed out when
// all of the connection, TIME_WAIT included, is over. It works on records, so live
// and replay share it.
type Closes struct {
	out  func(*event.CloseRecord) error
	max  int
	open map[closeKey]*openClose

	Evicted uint64 // connections dropped because the table was full
}

// closeKey has the 4-tuple for kernels without cookies, and because a socket can be
// connected again while its first connection is in TIME_WAIT.
type closeKey struct {
	cookie uint64
	netns  uint32
	tuple  event.Tuple
}

type openClose struct {
	event.CloseRecord
	state event.State
	over  bool // dead, but the owner is not known yet: its close() will tell
}

// NewCloses returns a Closes that hands its records to out; it follows at most max
// connections at a time (0: 1,048,576).
func NewCloses(max int, out func(*event.CloseRecord) error) *Closes {
	if max == 0 {
		max = defaultMaxConns
	}
	return &Closes{out: out, max: max, open: map[closeKey]*openClose{}}
}

func keyOf(s *event.Socket) closeKey {
	return closeKey{cookie: s.Cookie, netns: s.NetNS, tuple: event.TupleOf(s.Local, s.Peer)}
}

// Transition takes the next record.
func (cl *Closes) Transition(t *event.Transition) error {
	if t.New == event.Close && (t.Old == event.SynSent || t.Old == event.SynRecv) {
		return nil // never a connection; connect_error tells of it
	}
	k := keyOf(&t.Socket)
	c := cl.open[k]
	if c != nil && c.over { // the socket is connected again
		delete(cl.open, k)
		if err := cl.out(&c.CloseRecord); err != nil {
			return err
		}
		c = nil
	}
	if c == nil {
		if len(cl.open) >= cl.max {
			for k := range cl.open {
				delete(cl.open, k)
				cl.Evicted++
				break
			}
		}
		c = &openClose{CloseRecord: event.CloseRecord{
			Idle: event.Unknown, Unread: event.Unknown, BytesSent: event.Unknown,
			BytesReceived: event.Unknown, Timestamps: event.Unknown,
		}}
		for i := range c.States {
			c.States[i] = event.Unknown
		}
		cl.open[k] = c
	}
	c.add(t)
	if t.New != event.Close {
		return nil
	}
	if !c.Process.Known() && t.TimeWait == nil && t.Call == event.MethodUnknown && t.Errno != 0 {
		c.over = true
		return nil
	}
	delete(cl.open, k)
	return cl.out(&c.CloseRecord)
}

func (c *openClose) add(t *event.Transition) {
	c.KTime, c.state = t.KTime, t.New
	role := c.Role
	c.Socket = t.Socket
	if t.Role == event.RoleUnknown {
		c.Role = role
	}
	// The best attribution wins, and of equals the later: it was there at the end.
	if t.Process.Known() && (c.Attribution != event.Exact || t.Attribution == event.Exact) {
		c.Process, c.Attribution = t.Process, t.Attribution
	}
	if t.PeerProcess.Known() {
		c.PeerProcess = t.PeerProcess
	}
	if t.Closer != event.CloserUnknown {
		c.Closer, c.Method = t.Closer, t.Method
	}
	if t.Duration >= 0 && t.Old.Valid() {
		c.States[t.Old] = max(c.States[t.Old], 0) + t.Duration
	}
	if t.TimeWait != nil {
		info := *t.TimeWait
		c.TimeWait = &info
	}
	if t.Orphan != event.EndNone {
		c.Orphan = t.Orphan
	}
	c.Idle = max(c.Idle, t.Idle)
	c.Unread = max(c.Unread, t.Unread)
	c.BytesSent = max(c.BytesSent, t.BytesSent)
	c.BytesReceived = max(c.BytesReceived, t.BytesReceived)
	c.Timestamps = max(c.Timestamps, t.Timestamps)
	if t.Errno != 0 {
		c.Errno = t.Errno
	}
	c.Existed = c.Existed || t.Existed
	c.Incomplete = c.Incomplete || t.Incomplete
}

// Release takes the owner's close() of a dead socket.
func (cl *Closes) Release(r *event.Release) error {
	k := keyOf(&r.Socket)
	c := cl.open[k]
	if c == nil || !c.over {
		return nil
	}
	delete(cl.open, k)
	if r.Process.Known() {
		c.Process, c.Attribution = r.Process, event.Exact
	}
	return cl.out(&c.CloseRecord)
}

// Flush hands out the connections that are over but whose owner never closed, and
// those that are in TIME_WAIT when the trace ends, at ktime: their end is EndOpen.
// The others have no record.
func (cl *Closes) Flush(ktime int64) error {
	var over []*openClose
	for k, c := range cl.open {
		if c.state == event.TimeWait {
			c.TimeWait = &event.TimeWaitInfo{Duration: span(c.KTime, ktime), End: event.EndOpen, Late: event.Unknown}
			c.over = true
		}
		if c.over {
			over = append(over, c)
			delete(cl.open, k)
		}
	}
	sort.Slice(over, func(i, j int) bool { return over[i].KTime < over[j].KTime })
	for _, c := range over {
		if err := cl.out(&c.CloseRecord); err != nil {
			return err
		}
	}
	return nil
}
