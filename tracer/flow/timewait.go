// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"sort"
	"time"

	"finwait/tracer/event"
)

// armed: a mini-socket was born, restarted, or went from FIN_WAIT2 to TIME_WAIT.
func (f *Flow) armed(s *event.Sample) error {
	if nameless(s) {
		return f.fin(s)
	}
	c := f.find(s)
	if c == nil && s.Has(event.FlagRequeued) {
		// A segment on one CPU can meet a mini-socket that has just died on another.
		f.stats.Unmatched++
		return nil
	}
	if c == nil {
		f.stats.Unmatched++
		c = f.open(s)
		c.incomplete = true
	} else if !c.isMini() && s.Has(event.FlagRequeued) {
		c.incomplete = true // its birth was not seen
	}
	if s.Has(event.FlagTimestamps) {
		c.timestamps = 1
	}
	if !c.isMini() {
		return f.born(c, s)
	}
	m := &c.mini
	m.due = f.due(s)
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

// nameless: the ends of a FIN that TCP's own receive function dropped, and no more.
func nameless(s *event.Sample) bool {
	return s.Kind == event.KindArmed && s.Cookie == 0 && s.Sock == 0
}

// fin: a FIN was dropped by TCP's own receive function, and the kernel does not say whose
// it was. Where just one mini-socket has these ends, it is in TIME_WAIT from now on, or
// its minute begins anew. The timer says the same, unless it stays in the same bucket of
// the timer wheel.
func (f *Flow) fin(s *event.Sample) error {
	c := f.ends.only(s.Tuple)
	if c == nil {
		return nil
	}
	m, expires := &c.mini, s.Jiffies+uint64(timeWaitLen/f.opt.Tick)
	if m.state == event.TimeWait && expires <= m.expires+jitter {
		return nil // the timer has said so
	}
	m.expires, m.due = expires, f.due(s)
	m.inferred, m.unproven = true, true
	if m.state == event.FinWait2 {
		return f.enter(c, s.KTime)
	}
	m.restarts++
	return nil
}

func (f *Flow) born(c *conn, s *event.Sample) error {
	f.replace(c, s, mini{state: s.New, sock: s.Sock, expires: s.Expires, due: f.due(s)})
	f.stats.Born++
	if !f.opt.CountsAtExpiry {
		f.count(s, event.CounterTW, true)
	}
	if s.New == event.FinWait2 {
		c.halfClosed()
		return nil
	}
	if s.Expires == 0 {
		// fexit/inet_twsk_alloc comes before the timer is set.
		c.mini.expires = s.Jiffies + uint64(timeWaitLen/f.opt.Tick)
	}
	return f.enter(c, s.KTime)
}

// due is when the timer will have fired for certain, by ktime. The timer wheel is late by
// an eighth of the time at most (LVL_CLK_DIV in kernel/time/timer.c).
func (f *Flow) due(s *event.Sample) int64 {
	left := timeWaitLen
	if s.Expires != 0 {
		left = time.Duration(int64(s.Expires)-int64(s.Jiffies)) * f.opt.Tick
	}
	return s.KTime + int64(left+left/8+overdue)
}

// sweep ends the mini-sockets whose end should have been seen long ago, and was not.
// Where restarts are silent, nobody can tell.
func (f *Flow) sweep(now int64) error {
	if now < f.swept+int64(overdue) || !f.opt.SegmentsSeen || f.opt.NamelessSegments {
		return nil
	}
	f.swept = now
	var late []*conn
	f.store.each(func(c *conn) {
		if c.isMini() && c.mini.due < now {
			late = append(late, c)
		}
	})
	sort.Slice(late, func(i, j int) bool { return late[i].mini.due < late[j].mini.due })
	for _, c := range late {
		f.stats.Overdue++
		if err := f.lostEnd(c, now); err != nil {
			return err
		}
	}
	return nil
}

// halfClosed: only this end's own close makes a mini-socket in FIN_WAIT2.
func (c *conn) halfClosed() {
	if c.closer == event.CloserUnknown {
		c.closer = event.CloserLocal
	}
}

// enter is the step into TIME_WAIT, from FIN_WAIT2 or CLOSING.
func (f *Flow) enter(c *conn, ktime int64) error {
	m := &c.mini
	m.state, m.entered = event.TimeWait, ktime
	old := c.state
	if old == event.StateUnknown && c.before == event.Closing {
		old = event.Closing
	}
	switch old {
	case event.FinWait2, event.Closing:
	case event.StateUnknown, event.TimeWait:
		old = event.FinWait2
	default:
		c.incomplete = true
	}
	if c.state == event.StateUnknown {
		f.older(c)
	}
	t := f.begin(c, ktime)
	t.Old, t.New = old, event.TimeWait
	t.Duration = span(c.since, ktime)
	c.state, c.since = event.TimeWait, ktime
	return f.out.Transition(t)
}

// older completes a connection whose first step in the trace is the one into TIME_WAIT:
// the state that it was in tells who had closed, and the full socket's own end, which
// follows in the same moment, whose it is.
func (f *Flow) older(c *conn) {
	if c.closer == event.CloserUnknown {
		switch c.before {
		case event.FinWait1, event.FinWait2:
			c.closer = event.CloserLocal
		case event.Closing:
			c.closer = event.CloserBoth
		}
	}
	if !f.procs.at(c.owner).Known() && c.next != 0 && c.nextKnown != event.Exact {
		c.owner, c.attribution = c.next, c.nextKnown
	}
}

// seen: the mini-socket is older than the trace. Its timer tells when it was last set:
// TIME_WAIT always lasts TCP_TIMEWAIT_LEN; an orphan's FIN_WAIT2 has a length of its own.
func (f *Flow) seen(s *event.Sample) {
	known := f.find(s)
	if known != nil && known.isMini() {
		return // seen since, by its events
	}
	c := f.open(s)
	if f.lossy {
		c.incomplete = true // its birth was lost
	} else {
		c.existed = true
	}
	c.gone = true
	c.state = s.New
	if s.New == event.FinWait2 {
		c.halfClosed()
	}
	if s.Has(event.FlagTimestamps) {
		c.timestamps = 1
	}
	f.replace(c, s, mini{state: s.New, sock: s.Sock, expires: s.Expires, due: f.due(s)})
	if s.New == event.TimeWait {
		c.mini.entered = f.armedAt(s)
		c.since = c.mini.entered
	}
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
	if c == nil || !c.isMini() {
		f.stats.Unmatched++
		c = f.open(s)
		c.gone, c.incomplete = true, true
		if !c.isMini() {
			f.replace(c, s, mini{state: s.New, sock: s.Sock})
		}
	}
	switch s.Reason {
	case event.ReasonConnect, event.ReasonNetns, event.ReasonReset, event.ReasonSyn:
		return f.end(c, s, s.Reason)
	}
	// Expired or not known: evidence to the contrary, or a re-arm, follows at once.
	switch e := f.window.evidence(s); e.kind {
	case event.KindArmed:
		return nil // the timer was taken off only to be set anew
	case event.KindWhy:
		return f.end(c, s, e.reason)
	}
	return f.end(c, s, s.Reason)
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

// end is the end of a mini-socket, and of the connection; s is its KindDead.
func (f *Flow) end(c *conn, s *event.Sample, why event.Reason) error {
	m := &c.mini
	reason := endReason(why)
	if m.unproven && s.Expires+jitter >= m.expires && s.Expires <= m.expires+jitter {
		m.inferred = false // the timer was set when the segment came
	}
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
		entered := f.armedAt(s)
		if entered == 0 {
			entered = s.KTime
		}
		if err := f.enter(c, entered); err != nil {
			return err
		}
	} else if m.state == event.TimeWait && m.expires != 0 && s.Expires > m.expires+jitter {
		m.restarts++
		m.inferred = true
	}
	t := f.begin(c, s.KTime)
	t.Old, t.New = m.state, event.Close
	t.Duration = span(c.since, s.KTime)
	if m.state == event.TimeWait {
		f.info = event.TimeWaitInfo{
			Duration: span(m.entered, s.KTime), End: reason, Restarts: int(m.restarts), Late: event.Unknown, Inferred: m.inferred,
		}
		if reason == event.EndExpired && s.Expires != 0 {
			f.info.Late = time.Duration(int64(s.Jiffies)-int64(s.Expires)) * f.opt.Tick
		}
		if reason == event.EndReusedByConnect {
			f.info.SuccessorCookie = s.Successor
			if s.Has(event.FlagOwner) {
				f.info.Successor = *f.procs.at(f.procs.intern(s))
			}
		}
		t.TimeWait = &f.info
	} else {
		t.Orphan = reason
	}
	f.stats.Ended[reason]++
	if f.opt.CountsAtExpiry && (reason == event.EndExpired || reason == event.EndUnknown) {
		f.count(s, event.CounterTW, reason == event.EndExpired)
	}
	if reason == event.EndReusedByConnect {
		f.count(s, event.CounterTWRecycled, true)
	}
	f.forget(c)
	return f.out.Transition(t)
}

// OpenTimeWaits hands the TIME_WAITs that outlive the trace to fn, as transitions
// that have not happened, oldest first: New is CLOSE, and their end is EndOpen.
func (f *Flow) OpenTimeWaits(ktime int64, fn func(*event.Transition) error) error {
	var open []*conn
	f.store.each(func(c *conn) {
		if c.isMini() {
			open = append(open, c)
		}
	})
	sort.Slice(open, func(i, j int) bool { return open[i].since < open[j].since })
	for _, c := range open {
		t := f.begin(c, ktime)
		t.Old, t.New = c.mini.state, event.Close
		t.Duration = span(c.since, ktime)
		if c.mini.state == event.TimeWait {
			t.TimeWait = &event.TimeWaitInfo{
				Duration: span(c.mini.entered, ktime), End: event.EndOpen, Restarts: int(c.mini.restarts), Late: event.Unknown, Inferred: c.mini.inferred,
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
