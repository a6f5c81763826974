// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"sort"
	"time"

	"finwait/tracer/event"
)

// armed: a mini-socket was born, restarted, or went from FIN_WAIT2 to TIME_WAIT.
func (f *Flow) armed(s *event.Sample) error {
	c := f.find(s)
	if c == nil {
		f.stats.Unmatched++
		c = f.open(s)
	}
	if s.Has(event.FlagTimestamps) {
		c.timestamps = 1
	}
	if c.mini == nil {
		return f.born(c, s)
	}
	m := c.mini
	m.dead = false // the timer was taken off only to be set anew
	switch {
	case m.state == event.FinWait2 && s.New == event.TimeWait:
		m.expires = s.Expires
		return f.enter(c, s.KTime)
	case s.Expires != 0 && m.expires != 0 && s.Expires > m.expires:
		m.restarts++
	}
	if s.Expires != 0 {
		m.expires = s.Expires
	}
	return nil
}

func (f *Flow) born(c *conn, s *event.Sample) error {
	c.mini = &mini{state: s.New, expires: s.Expires}
	f.stats.Born++
	f.stats.TimeWaits++
	if s.New == event.TimeWait {
		return f.enter(c, s.KTime)
	}
	return nil
}

// enter is the step into TIME_WAIT, from FIN_WAIT2 or CLOSING.
func (f *Flow) enter(c *conn, ktime int64) error {
	m := c.mini
	m.state, m.entered = event.TimeWait, ktime
	old := c.state
	if old == event.StateUnknown || old == event.TimeWait {
		old = event.FinWait2
	}
	t := f.begin(c, ktime)
	t.Old, t.New = old, event.TimeWait
	t.Duration = span(c.since, ktime)
	c.state, c.since = event.TimeWait, ktime
	return f.out.Transition(t)
}

// seen: the mini-socket is older than the trace. Its timer tells when it was last set:
// TIME_WAIT always lasts TCP_TIMEWAIT_LEN; an orphan's FIN_WAIT2 has a length of its own.
func (f *Flow) seen(s *event.Sample) {
	if c := f.find(s); c != nil && c.mini != nil {
		return // seen since, by its events
	}
	c := f.open(s)
	c.existed = true
	c.gone = true
	c.state = s.New
	if s.Has(event.FlagTimestamps) {
		c.timestamps = 1
	}
	c.mini = &mini{state: s.New, expires: s.Expires}
	if s.New == event.TimeWait {
		c.mini.entered = f.armedAt(s)
		c.since = c.mini.entered
	}
	f.stats.TimeWaits++
}

// armedAt is when a TIME_WAIT timer was last set, to one jiffy.
func (f *Flow) armedAt(s *event.Sample) int64 {
	if s.Expires == 0 {
		return 0
	}
	left := time.Duration(int64(s.Expires)-int64(s.Jiffies)) * f.opt.Tick
	return s.KTime + int64(left-timeWaitLen)
}

// dead: the timer was taken off.
func (f *Flow) dead(s *event.Sample) error {
	c := f.find(s)
	if c == nil || c.mini == nil {
		f.stats.Unmatched++
		c = f.open(s)
		c.gone = true
		if c.mini == nil {
			c.mini = &mini{state: s.New}
			f.stats.TimeWaits++
		}
	}
	m := c.mini
	m.dead, m.deadAt, m.last = true, s.KTime, *s
	switch s.Reason {
	case event.ReasonConnect, event.ReasonNetns, event.ReasonReset, event.ReasonSyn:
		return f.end(c)
	}
	// Expired or not known: evidence to the contrary, or a re-arm, would follow at once.
	f.waiting = append(f.waiting, c)
	return nil
}

// why: the evidence.
func (f *Flow) why(s *event.Sample) error {
	c := f.find(s)
	if c == nil || c.mini == nil || !c.mini.dead {
		return nil
	}
	c.mini.last.Reason = s.Reason
	return f.end(c)
}

// bury ends the mini-sockets whose time for evidence is over.
func (f *Flow) bury(until int64) error {
	n := 0
	for ; n < len(f.waiting); n++ {
		c := f.waiting[n]
		if c.mini == nil || !c.mini.dead {
			continue // ended with a reason, or armed anew
		}
		if c.mini.deadAt > until {
			break
		}
		if err := f.end(c); err != nil {
			return err
		}
	}
	if n > 0 {
		rest := copy(f.waiting, f.waiting[n:])
		clear(f.waiting[rest:])
		f.waiting = f.waiting[:rest]
	}
	return nil
}

func endReason(r event.Reason) event.EndReason {
	switch r {
	case event.ReasonExpired:
		return event.EndExpired
	case event.ReasonConnect:
		return event.EndReusedByConnect
	case event.ReasonSyn:
		return event.EndReusedBySyn
	case event.ReasonReset:
		return event.EndReset
	case event.ReasonNetns:
		return event.EndNamespaceExit
	}
	return event.EndUnknown
}

// end is the end of a mini-socket, and of the connection.
func (f *Flow) end(c *conn) error {
	m := c.mini
	s := &m.last
	reason := endReason(s.Reason)
	if reason == event.EndUnknown && f.opt.SegmentsSeen && !f.lossy && s.New == event.TimeWait && !s.Has(event.FlagCall) {
		// inet_twsk_deschedule_put() has few callers. A connect() is recognised by its
		// 4-tuple, a dying namespace by its count, an RST by the segment that is dropped
		// next. What is left is a SYN whose request left no timer: one that SYN cookies
		// answer, or that the listening socket has no room for.
		reason = event.EndReusedBySyn
		m.inferred = true
	}
	if s.New == event.TimeWait && m.state == event.FinWait2 {
		// The step was silent: it left its mark in the timer alone.
		m.inferred = true
		if err := f.enter(c, f.armedAt(s)); err != nil {
			return err
		}
	} else if m.state == event.TimeWait && m.expires != 0 && s.Expires > m.expires {
		m.restarts++
		m.inferred = true
	}
	t := f.begin(c, s.KTime)
	t.Old, t.New = m.state, event.Close
	t.Duration = span(c.since, s.KTime)
	if m.state == event.TimeWait {
		info := event.TimeWaitInfo{
			Duration: span(m.entered, s.KTime), End: reason, Restarts: m.restarts, Late: event.Unknown, Inferred: m.inferred,
		}
		if reason == event.EndExpired && s.Expires != 0 {
			info.Late = time.Duration(int64(s.Jiffies)-int64(s.Expires)) * f.opt.Tick
		}
		if reason == event.EndReusedByConnect {
			info.SuccessorCookie = s.Successor
			if s.Has(event.FlagOwner) {
				info.Successor = *f.procs.intern(s)
			}
		}
		t.TimeWait = &info
	} else {
		t.Orphan = reason
	}
	f.stats.Ended[reason]++
	f.forget(c)
	return f.out.Transition(t)
}

// OpenTimeWaits hands the TIME_WAITs that outlive the trace to fn, as transitions
// that have not happened, oldest first: New is CLOSE, and their end is EndOpen.
func (f *Flow) OpenTimeWaits(ktime int64, fn func(*event.Transition) error) error {
	var open []*conn
	for _, c := range f.conns {
		if c.mini != nil {
			open = append(open, c)
		}
	}
	sort.Slice(open, func(i, j int) bool { return open[i].since < open[j].since })
	for _, c := range open {
		t := f.begin(c, ktime)
		t.Old, t.New = c.mini.state, event.Close
		t.Duration = span(c.since, ktime)
		if c.mini.state == event.TimeWait {
			t.TimeWait = &event.TimeWaitInfo{
				Duration: span(c.mini.entered, ktime), End: event.EndOpen, Restarts: c.mini.restarts, Late: event.Unknown,
			}
		} else {
			t.Orphan = event.EndOpen
		}
		if err := fn(t); err != nil {
			return err
		}
	}
	return nil
}
