// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// stage is a lab, a trace of it, and what the trace said at the end.
type stage struct {
	t     *testing.T
	lab   *workload.Lab
	ctx   context.Context
	rig   *rig
	found map[ends][]*connection
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t}
	s.lab, s.ctx = newLab(t, workload.Options{})
	return s
}

func (s *stage) actor(name string) *actor {
	s.t.Helper()
	return newActor(s.t, s.lab, name, "")
}

func (s *stage) trace() {
	s.t.Helper()
	s.rig = traceLab(s.t, s.ctx, s.lab, tracer.Options{})
}

// end ends the trace, which must be whole.
func (s *stage) end() {
	s.t.Helper()
	s.over()
	s.rig.nothingLost()
}

// over ends the trace where nothing but the processes on its rows is of interest.
func (s *stage) over() {
	s.t.Helper()
	s.rig.settled(nil)
	s.rig.finish()
	s.found = connections(s.rig.rows)
}

// seen returns what was seen of the one connection between two addresses.
func (s *stage) seen(local, peer netip.AddrPort) *connection {
	s.t.Helper()
	list := s.found[ends{local, peer}]
	if len(list) != 1 {
		s.t.Fatalf("%d connections from %v to %v, want 1: %v", len(list), local, peer, list)
	}
	return list[0]
}

// step returns the one row with these states.
func (c *connection) step(t *testing.T, from, to event.State) *event.Transition {
	t.Helper()
	var found []*event.Transition
	for _, row := range c.rows {
		if row.Old == from && row.New == to {
			found = append(found, row)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows %v → %v, want 1:%v", len(found), from, to, c)
	}
	return found[0]
}

// is fails unless a process is this actor, in every column.
func (a *actor) is(t *testing.T, p *event.Process, what string) {
	t.Helper()
	if int(p.PID) != a.pid || p.Comm.String() != a.name {
		t.Errorf("%s: process %d %q, want %d %q", what, p.PID, p.Comm, a.pid, a.name)
	}
	if p.Exe != "" && p.Exe != a.exe {
		t.Errorf("%s: program %q, want %q or nothing", what, p.Exe, a.exe)
	}
}

// exactly fails unless the row says that this actor made the very call.
func (c *connection) exactly(t *testing.T, from, to event.State, a *actor, call event.Method) *event.Transition {
	t.Helper()
	row := c.step(t, from, to)
	what := fmt.Sprintf("%v → %v", from, to)
	a.is(t, &row.Process, what)
	if row.Attribution != event.Exact || row.Call != call {
		t.Errorf("%s: %v by %v, want exact by %v", what, row.Attribution, row.Call, call)
	}
	return row
}

// among fails if a row names a process that is none of these actors; nobody is right, too.
func (c *connection) among(t *testing.T, actors ...*actor) {
	t.Helper()
	for _, row := range c.rows {
		if !row.Process.Known() {
			continue
		}
		i := slices.IndexFunc(actors, func(a *actor) bool { return a.pid == int(row.Process.PID) })
		if i < 0 {
			t.Errorf("%v → %v is put down to process %d %q:%v", row.Old, row.New, row.Process.PID, row.Process.Comm, c)
			continue
		}
		actors[i].is(t, &row.Process, fmt.Sprintf("%v → %v", row.Old, row.New))
	}
}

// ended fails unless the connection's verdict is this.
func (c *connection) ended(t *testing.T, closer event.Closer, method event.Method) {
	t.Helper()
	last := c.rows[len(c.rows)-1]
	if last.Closer != closer || last.Method != method {
		t.Errorf("closed by %v, %v; want %v, %v:%v", last.Closer, last.Method, closer, method, c)
	}
}
