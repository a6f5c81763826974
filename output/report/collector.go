// SPDX-License-Identifier: Apache-2.0

package report

import (
	"finwait/tracer/event"
)

// Options bounds the tables of a [Collector]. The zero value is good for any trace.
type Options struct {
	MaxConns    int // connections that are closing at a time, of a host; 0: 524,288, about 150 MB when full
	MaxGroups   int // process × peer × direction; 0: 4,096
	MaxBudgets  int // local address × peer × peer's port; 0: 2,048
	MaxPrograms int // 0: 4,096
}

// Collector adds up the records of one or more traces.
type Collector struct {
	opt    Options
	hosts  []*host
	traces []*Trace
}

// New returns an empty Collector.
func New(opt Options) *Collector {
	for _, d := range []struct {
		field *int
		value int
	}{{&opt.MaxConns, 1 << 19}, {&opt.MaxGroups, 4096}, {&opt.MaxBudgets, 2048}, {&opt.MaxPrograms, 4096}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return &Collector{opt: opt}
}

// Trace is one recording, a handler of its records in the order of time. Recordings of one
// boot of one host continue each other; several may be handed over at the same time.
type Trace struct {
	c       *Collector
	h       *host
	files   []string
	start   *event.Start // nil: the file has none
	end     *event.End   // nil: cut
	notes   []string
	clock   event.Clock
	lost    map[event.LossReason]uint64
	first   int64
	last    int64
	records uint64
}

// Trace begins a recording: one file, or its parts.
func (c *Collector) Trace(files ...string) *Trace {
	t := &Trace{c: c, files: files, lost: map[event.LossReason]uint64{}}
	c.traces = append(c.traces, t)
	return t
}

func (t *Trace) see(ktime int64) *host {
	t.records++
	if t.h == nil { // no trace_start: a part of a recording
		t.h = newHost(&t.c.opt, ktime)
		t.h.clock = t.clock
		t.c.hosts = append(t.c.hosts, t.h)
	}
	if t.first == 0 {
		t.first = ktime
	}
	t.last = max(t.last, ktime)
	return t.h
}

// Start takes trace_start.
func (t *Trace) Start(s *event.Start) error {
	if t.start != nil {
		return nil // files that were put together: the first one speaks for all
	}
	start := *s
	t.start = &start
	if t.h == nil {
		t.h = t.resume(s)
	}
	h := t.h
	t.see(s.KTime)
	h.see(s.KTime)
	h.name, h.kernel, h.boot, h.clock, h.tick = s.Host, s.Kernel, s.BootID, s.Clock, s.Tick
	for _, ns := range s.Namespaces {
		h.namespaces[ns.Inode] = newNamespace(ns.Settings)
	}
	return nil
}

// resume returns the host whose recording this file continues, or a new one.
func (t *Trace) resume(s *event.Start) *host {
	for _, h := range t.c.hosts {
		if s.BootID == "" || h.boot != s.BootID || s.KTime < h.now || t.c.running(h) {
			continue
		}
		if s.KTime-h.now > int64(rotation) {
			h.interrupt(h.now)
			h.timeWaits.exist(int64(s.TimeWaits), s.KTime)
			h.timeWaits.track[h.grid.slot(s.KTime)] += int32(s.TimeWaits)
			h.sockets += s.Sockets
		}
		return h
	}
	h := newHost(&t.c.opt, s.KTime)
	if s.Part.Number <= 1 { // a later part says what there was before the first
		h.timeWaits.exist(int64(s.TimeWaits), s.KTime)
		h.sockets = s.Sockets
	}
	t.c.hosts = append(t.c.hosts, h)
	return h
}

// Transition takes a transition record; it is not kept.
func (t *Trace) Transition(r *event.Transition) error {
	t.see(r.KTime).transition(r)
	return nil
}

// ConnectError takes a connect_error record.
func (t *Trace) ConnectError(r *event.ConnectError) error {
	t.see(r.KTime).connectError(r)
	return nil
}

// Release takes a release record.
func (t *Trace) Release(r *event.Release) error {
	t.see(r.KTime).release(r)
	return nil
}

// Loss takes a loss record.
func (t *Trace) Loss(r *event.Loss) error {
	t.see(r.KTime).see(r.KTime)
	t.lost[r.Reason] += r.Count
	return nil
}

// End takes trace_end.
func (t *Trace) End(e *event.End) error {
	t.see(e.KTime).see(e.KTime)
	end := *e
	t.end = &end
	return nil
}

// Clock says how the records' timestamps were made, where no trace_start does.
func (t *Trace) Clock(c event.Clock) {
	t.clock = c
	if t.h != nil && t.start == nil {
		t.h.clock = c
	}
}

// Note says what is missing from the recording, as its reader found.
func (t *Trace) Note(what string) { t.notes = append(t.notes, what) }

// running reports whether a recording of the host has not ended. Whether it was cut, or
// will go on, only the end tells: so nothing else may continue it.
func (c *Collector) running(h *host) bool {
	for _, t := range c.traces {
		if t.h == h && t.end == nil {
			return true
		}
	}
	return false
}

// overlaps reports whether another recording of the same boot has events of the same time.
func (t *Trace) overlaps() bool {
	for _, o := range t.c.traces {
		if o != t && t.start != nil && o.start != nil && t.start.BootID != "" && t.start.BootID == o.start.BootID &&
			t.first < o.last && o.first < t.last {
			return true
		}
	}
	return false
}
