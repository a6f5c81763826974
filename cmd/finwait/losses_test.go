// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// sidesOf finds the ledger's side of a connection; of 4-tuples that came twice, none.
func sidesOf(closes []workload.Close) map[ends]*workload.Side {
	sides := map[ends]*workload.Side{}
	for i := range closes {
		for _, side := range []*workload.Side{closes[i].Client, closes[i].Server} {
			if side == nil || closes[i].ConnectError != "" {
				continue
			}
			e := ends{side.Local, side.Peer}
			if _, twice := sides[e]; twice {
				sides[e] = nil
			} else {
				sides[e] = side
			}
		}
	}
	return sides
}

// stopped suspends the program, and returns when it no longer runs.
func (p *program) stopped() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	p.await("stopped", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		return err == nil && strings.Contains(string(b), ") T ")
	})
}

// lostOnly fails unless the trace says that facts were lost for this reason alone, the
// same in every place, and that what it shows is right all the same.
func (p *program) lostOnly(reason string, closes []workload.Close) {
	p.t.Helper()
	rows, end := p.whole()
	var sum uint64
	for _, l := range of("loss", rows) {
		if l.Reason != reason || l.Count == 0 {
			p.t.Errorf("loss record: %d %s", l.Count, l.Reason)
		}
		sum += l.Count
	}
	if sum == 0 || sum != end.Lost[reason] || end.Complete {
		p.t.Errorf("the loss records have %d, trace_end %+v", sum, end)
	}
	for r, n := range end.Lost {
		if r != reason && n != 0 {
			p.t.Errorf("lost %d: %s", n, r)
		}
	}
	p.says(fmt.Sprintf("LOST %d %s", sum, reason))
	sides := sidesOf(closes)
	transitions := of("transition", rows)
	if n := uint64(len(transitions)); n == 0 || n != end.Totals["transitions"] {
		p.t.Errorf("%d transitions; trace_end says %d", n, end.Totals["transitions"])
	}
	wrong := 0
	for _, r := range transitions {
		side := sides[r.addresses()]
		if side == nil {
			continue
		}
		if r.Closer != "" && r.Closer != side.Closer || r.Method != "" && r.Method != side.Method ||
			r.Process != nil && r.Process.PID != side.PID && r.Process.PID != side.Opener {
			if wrong++; wrong <= 5 {
				p.t.Errorf("with losses, a wrong row: %+v\n\tledger %+v", r, *side)
			}
		}
	}
	p.t.Logf("%d transitions out, %d %s", len(transitions), sum, reason)
}

// TestProgramRingFull: a reader that is too slow loses facts, and says how many.
func TestProgramRingFull(t *testing.T) {
	s := newStage(t)
	ring := fmt.Sprint(os.Getpagesize())
	for _, strict := range []bool{true, false} {
		t.Run(fmt.Sprintf("stopped, strict %v", strict), func(t *testing.T) {
			args := []string{"-o", "json", "--netns", inode(s.lab), "--ring-size", ring}
			code := exitDone
			if strict {
				args, code = append(args, "--strict"), exitStrict
			}
			p := newProgram(t, args...).live().start()
			p.stopped()
			storm, err := s.lab.Storm(s.ctx, 300)
			if err != nil {
				t.Fatal(err)
			}
			p.signal(syscall.SIGCONT).signal(os.Interrupt).exits(code).lostOnly("ring_full", storm.Closes)
			if strict {
				p.says("finwait: not complete: events were lost", "--ring-size")
			}
		})
	}
	t.Run("nobody reads", func(t *testing.T) {
		r, w := pipe(t)
		p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--ring-size", ring).live()
		p.cmd.Stdout = w
		p.start()
		w.Close()
		storm, err := s.lab.Storm(s.ctx, 1500)
		if err != nil {
			t.Fatal(err)
		}
		p.signal(os.Interrupt)
		if _, err := bufio.NewReader(r).WriteTo(&p.out); err != nil {
			t.Fatal(err)
		}
		p.exits(exitDone).lostOnly("ring_full", storm.Closes)
	})
	t.Run("strict and nothing lost", func(t *testing.T) {
		p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--strict").live().start()
		runs(t, s, workload.ClientFirst)
		p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	})
}

// tally is a tracer.Handler that only counts.
type tally struct {
	samples uint64
	lost    map[event.LossReason]uint64
}

func (c *tally) Sample(*event.Sample) error { c.samples++; return nil }
func (c *tally) Advance(int64) error        { return nil }
func (c *tally) Lost(l event.Loss) error    { c.lost[l.Reason] += l.Count; return nil }

// TestRingArithmetic: of two traces of the same storm, one has room for all of it. What the
// other one kept and what it counted as lost are together as much.
func TestRingArithmetic(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	small, err := tracer.Open(tracer.Options{RingBytes: uint32(os.Getpagesize()), Filter: tracer.Filter{NetNS: lab.NetNS()}})
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	r := traceLab(t, ctx, lab, tracer.Options{RingBytes: 64 << 20})
	storm, err := lab.Storm(ctx, 500)
	if err != nil {
		t.Fatal(err)
	}
	seen := r.settled(nil)
	r.finish()
	// At once: a mini-socket may end at any time, and only one of the two would see it.
	over, stop := context.WithCancel(ctx)
	stop()
	got := tally{lost: map[event.LossReason]uint64{}}
	if err := small.Run(over, &got); err != nil {
		t.Fatal(err)
	}
	compare(t, storm.Closes, seen)
	r.nothingLost()

	kept, err := small.Counters()
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.tracer.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if got.samples != kept.Events || got.samples == 0 {
		t.Errorf("%d samples came out, %d went in", got.samples, kept.Events)
	}
	lost := kept.Lost[event.LossRingFull]
	if lost == 0 || lost != got.lost[event.LossRingFull] {
		t.Errorf("%d lost, %d reported", lost, got.lost[event.LossRingFull])
	}
	if kept.Events+lost != all.Events {
		t.Errorf("%d kept and %d lost, of %d", kept.Events, lost, all.Events)
	}
	t.Logf("%d kept and %d lost, of %d", kept.Events, lost, all.Events)
}

// TestMapFull: with room for one socket only, the rest is counted, and what is shown is right.
func TestMapFull(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	r := traceLab(t, ctx, lab, tracer.Options{MaxSockets: 1, RingBytes: 64 << 20})
	storm, err := lab.Storm(ctx, 500)
	if err != nil {
		t.Fatal(err)
	}
	r.settled(nil)
	r.finish()
	c, err := r.tracer.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if c.Lost[event.LossMapFull] == 0 {
		t.Error("nothing is counted as map_full")
	}
	if c.Lost[event.LossRingFull] != 0 {
		t.Errorf("%d lost: ring_full", c.Lost[event.LossRingFull])
	}
	sides := sidesOf(storm.Closes)
	var calls, named, wrong int
	for i := range r.rows {
		row := &r.rows[i]
		side := sides[ends{row.Local, row.Peer}]
		if side == nil || row.Old == event.SynSent {
			continue // an attempt that failed; maybe because its ends were another connection's
		}
		pid := int(row.Process.PID)
		if row.Call != event.MethodUnknown && row.Call != event.MethodDataAfterClose {
			calls++
			if pid != 0 {
				named++
			}
		}
		if row.Closer.String() != side.Closer || row.Method.String() != side.Method ||
			pid != 0 && (pid != side.PID || row.Process.Comm.String() != side.Comm) {
			if wrong++; wrong <= 5 {
				t.Errorf("%v → %v: closed by %v, %v; process %d %q\n\tledger %+v",
					row.Old, row.New, row.Closer, row.Method, pid, row.Process.Comm, *side)
			}
		}
	}
	if calls == 0 || named != calls {
		t.Errorf("%d steps were made by a call, %d of them have a process; all should", calls, named)
	}
	t.Logf("%d map_full; %d rows, %d wrong; %d calls, all named", c.Lost[event.LossMapFull], len(r.rows), wrong, calls)
}

// TestMapElsewhere: other namespaces' sockets take no room in a trace of one namespace.
func TestMapElsewhere(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	busy, _ := newLab(t, workload.Options{Workers: 12})
	// Room for the lab's own sockets, and not for a storm's.
	r := traceLab(t, ctx, lab, tracer.Options{MaxSockets: 8})
	if _, err := busy.Storm(ctx, 2000); err != nil {
		t.Fatal(err)
	}
	ledger, err := lab.Run(ctx, workload.ClientFirst)
	if err != nil {
		t.Fatal(err)
	}
	r.settled(nil)
	r.finish()
	r.nothingLost()
	side := ledger.Closes[0].Client
	if len(r.rows) == 0 || !slices.ContainsFunc(r.rows, func(row event.Transition) bool {
		return row.Local == side.Local && row.Closer == event.CloserLocal && int(row.Process.PID) == side.PID
	}) {
		t.Errorf("the lab's own close is not there: %+v", r.rows)
	}
	for _, row := range r.rows {
		if row.NetNS != lab.NetNS() {
			t.Errorf("a row of another namespace: %+v", row)
		}
	}
}

// TestProgramMapFull: the program says so, too.
func TestProgramMapFull(t *testing.T) {
	s := newStage(t)
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--max-sockets", "1", "--strict").live().start()
	storm, err := s.lab.Storm(s.ctx, 100)
	if err != nil {
		t.Fatal(err)
	}
	p.signal(os.Interrupt).exits(exitStrict).says("--max-sockets").lostOnly("map_full", storm.Closes)
}
