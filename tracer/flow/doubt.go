// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// Doubt is a connection that may be over without the flow knowing: samples were lost.
type Doubt struct {
	Sock, Cookie uint64 // of the mini-socket, or of the full one
}

// Doubts lists the connections whose socket can be looked at.
func (f *Flow) Doubts() []Doubt {
	list := make([]Doubt, 0, f.stats.Conns)
	f.store.each(func(c *conn) {
		d := Doubt{Sock: c.sock, Cookie: c.cookie}
		if c.isMini() {
			d.Sock = c.mini.sock
		}
		// A number that finwait has given (before 5.12) is not in the kernel to be found.
		if d.Sock != 0 && d.Cookie != 0 && d.Cookie>>63 == 0 {
			list = append(list, d)
		}
	})
	return list
}

// Settled is the moment up to which everything has been handed on.
func (f *Flow) Settled() int64 { return f.settled }

// Ended says that the socket was gone at ktime, and that everything up to then has been
// handed on: if the connection is still known, its end was lost. When that was, and why,
// nobody can tell.
func (f *Flow) Ended(d Doubt, ktime int64) error {
	c := f.miniAt(d.Sock)
	if c == nil || c.cookie != d.Cookie {
		c = f.byKey(d.Cookie)
		if c == nil || c.isMini() && c.mini.sock != d.Sock || !c.isMini() && c.sock != d.Sock {
			return nil
		}
	}
	f.stats.Unseen++
	if !c.isMini() && (c.closed != 0 || c.state == event.StateUnknown) {
		f.forget(c) // its end has been shown; or none of its steps was
		return nil
	}
	return f.lostEnd(c, ktime)
}

// lostEnd ends a connection whose end was not seen.
func (f *Flow) lostEnd(c *conn, ktime int64) error {
	t := f.begin(c, ktime)
	t.Old, t.New, t.Incomplete = c.state, event.Close, true
	if c.isMini() {
		t.Old = c.mini.state
		if t.Old == event.TimeWait {
			t.TimeWait = &event.TimeWaitInfo{Duration: event.Unknown, End: event.EndUnknown, Restarts: int(c.mini.restarts), Late: event.Unknown}
		} else {
			t.Orphan = event.EndUnknown
		}
		f.stats.Ended[event.EndUnknown]++
	}
	f.forget(c)
	return f.out.Transition(t)
}

// Whole says that what was missing is made up for: absence means something again.
func (f *Flow) Whole() { f.lossy = false }
