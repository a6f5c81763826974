// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// blocked stops the reader of the ring until the function that it returns is called.
func (r *rig) blocked() (release func()) {
	gate := make(chan struct{})
	r.gate.Store(&gate)
	return func() {
		r.gate.Store(nil)
		close(gate)
	}
}

// loses makes storms until the kernel side has lost something.
func (r *rig) loses() (closes []workload.Close) {
	r.t.Helper()
	for {
		storm, err := r.lab.Storm(r.ctx, 500)
		if err != nil {
			r.t.Fatal(err)
		}
		closes = append(closes, storm.Closes...)
		c, err := r.tracer.Counters()
		if err != nil {
			r.t.Fatal(err)
		}
		if c.Lost[event.LossRingFull] > 0 {
			return closes
		}
	}
}

// sameTimeWaits fails unless the mini-sockets that the flow follows are those that the kernel has.
func (r *rig) sameTimeWaits() {
	r.t.Helper()
	known := map[ends]bool{}
	var there []event.Sample
	r.settled(func() bool {
		clear(known)
		there = r.tracer.TimeWaits()
		err := r.flow.OpenTimeWaits(tracer.Now(), func(t *event.Transition) error {
			known[ends{t.Local, t.Peer}] = true
			return nil
		})
		if err != nil {
			r.t.Error(err)
		}
		return true
	})
	for i := range there {
		at := ends{there[i].LocalAddr(), there[i].PeerAddr()}
		if !known[at] {
			r.t.Errorf("a TIME_WAIT of the kernel is not known: %v", at)
		}
		delete(known, at)
	}
	for at := range known {
		r.t.Errorf("a TIME_WAIT is followed that the kernel has not: %v", at)
	}
	r.t.Logf("the kernel has %d", len(there))
}

// TestOverload loses births and ends of TIME_WAITs on purpose. What is shown is right all the
// same, and when the storm is over, so is the whole picture: nothing stays that is gone,
// everything that is there is known, and new verdicts are complete.
func TestOverload(t *testing.T) {
	ss := needsTool(t, "ss")
	lab, ctx := newLab(t, workload.Options{})
	r := traceLab(t, ctx, lab, tracer.Options{RingBytes: 64 << 10})
	if err := r.tracer.LookError(); err != nil {
		t.Skipf("kernel lacks: %v", err)
	}
	whole := func() bool { return r.repair.lost == 0 && r.repair.covers == 0 }
	for round := range 3 {
		for range 10 { // births that are seen, of which no end will be
			if _, err := lab.Run(ctx, workload.ClientFirst); err != nil {
				t.Fatal(err)
			}
		}
		r.settled(nil)
		release := r.blocked()
		closes := r.loses()
		if round > 0 { // their ends find the ring full
			kill := exec.Command(ss, "-K", "-t", "state", "time-wait")
			var out []byte
			if err := lab.Do(func() (err error) { out, err = kill.CombinedOutput(); return err }); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		release()
		r.settled(whole)
		r.right(closes)
		r.sameTimeWaits()
		if s := r.flow.Stats(); round > 0 && s.Unseen == 0 {
			t.Error("no end was lost: the test shows nothing")
		}
		// From here on it is as if nothing had been.
		for _, kind := range []workload.Kind{workload.ClientFirst, workload.ServerFirst, workload.Linger0, workload.UnreadData, workload.HalfClose} {
			ledger, err := lab.Run(ctx, kind)
			if err != nil {
				t.Fatal(err)
			}
			seen := r.settled(nil)
			compare(t, ledger.Closes, seen)
			for i := range seen.rows {
				if seen.rows[i].Incomplete && !hidesInit() {
					t.Errorf("round %d, %s: incomplete: %+v", round, kind, seen.rows[i])
				}
			}
		}
		t.Logf("round %d: %d ends found out", round, r.flow.Stats().Unseen)
	}
	r.finish()
	c, err := r.tracer.Counters()
	if err != nil {
		t.Fatal(err)
	}
	var told uint64
	for _, l := range r.losses {
		told += l.Count
	}
	if told != c.Lost[event.LossRingFull] {
		t.Errorf("%d lost, %d in loss records", c.Lost[event.LossRingFull], told)
	}
}

// TestOverloadProgram: the program, which has given its privileges up by then, finds out which
// TIME_WAITs have ended while it was suspended, in a namespace that it could not even enter.
func TestOverloadProgram(t *testing.T) {
	ss := needsTool(t, "ss")
	s := newStage(t)
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--ring-size", "64KiB").live().start()
	p.holds(true)
	waiting := map[ends]bool{}
	for range 10 {
		for _, c := range runs(t, s, workload.ClientFirst) {
			waiting[ends{c.Client.Local, c.Client.Peer}] = true
		}
	}
	p.await("showing what came before", func() bool {
		return strings.Count(p.out.String(), `"new_state":"TIME_WAIT"`) >= len(waiting)
	})
	p.stopped()
	storm, err := s.lab.Storm(s.ctx, 1000) // many times what the ring holds
	if err != nil {
		t.Fatal(err)
	}
	if err := s.lab.Do(exec.Command(ss, "-K", "-t", "state", "time-wait").Run); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGCONT)
	p.await("whole again", func() bool {
		return strings.Count(p.out.String(), `"end_reason":"unknown"`) >= len(waiting)
	})
	p.signal(os.Interrupt).exits(exitDone).lostOnly("ring_full", storm.Closes)
	for _, r := range of("transition", p.records()) {
		if r.TimeWait != nil && r.TimeWait.EndReason == "unknown" {
			delete(waiting, r.addresses())
		}
	}
	for at := range waiting {
		t.Errorf("%v has ended, and is still shown as open", at)
	}
}

// TestSlowReader writes to a terminal and to a pipe that are read a little after each storm.
// The storms go on at their own speed; what does not fit is in loss records.
func TestSlowReader(t *testing.T) {
	s := newStage(t)
	for _, kind := range []string{"terminal", "pipe"} {
		t.Run(kind, func(t *testing.T) {
			r, w := pipe(t)
			if kind == "terminal" {
				r, w = terminal(t)
			}
			p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--ring-size", "64KiB").live()
			p.cmd.Stdout = w
			p.start()
			w.Close()
			var closes []workload.Close
			buf := make([]byte, 512)
			for range 6 {
				storm, err := s.lab.Storm(s.ctx, 500)
				if err != nil {
					t.Fatal(err)
				}
				closes = append(closes, storm.Closes...)
				n, err := r.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				p.out.Write(buf[:n])
			}
			p.signal(os.Interrupt)
			for { // a terminal whose last writer is gone gives EIO
				n, err := r.Read(buf)
				p.out.Write(buf[:n])
				if err != nil {
					break
				}
			}
			text := strings.ReplaceAll(p.out.String(), "\r\n", "\n")
			p.out = output{}
			fmt.Fprint(&p.out, text)
			p.exits(exitDone).lostOnly("ring_full", closes)
		})
	}
}

// TestStuckReader: nobody will ever read. The first Ctrl-C cannot lead to an orderly end; the
// second one ends it all the same, and nothing stays in the kernel.
func TestStuckReader(t *testing.T) {
	s := newStage(t)
	_, w := pipe(t)
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).live()
	p.cmd.Stdout = w
	p.start()
	w.Close()
	held := kernelObjects(p.cmd.Process.Pid)
	if _, err := s.lab.Storm(s.ctx, 200); err != nil { // far more than the pipe holds
		t.Fatal(err)
	}
	p.await("ended", func() bool {
		p.cmd.Process.Signal(os.Interrupt) // an impatient user
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGINT {
		t.Errorf("ended with %v, want to be interrupted: %s", p.cmd.ProcessState, p.err.String())
	}
	gone(t, s.ctx, held)
}

// TestMapFullCounts: map_full counts sockets that found no room, each once; and of a trace of
// one namespace only the sockets there: others take no room.
func TestMapFullCounts(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	other, _ := newLab(t, workload.Options{})
	r := traceLab(t, ctx, lab, tracer.Options{MaxSockets: 1})
	full := func() int {
		c, err := r.tracer.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return int(c.Lost[event.LossMapFull])
	}
	// makes returns how many sockets there were, and how many more found no room.
	makes := func(lab *workload.Lab) (sockets, lost int) {
		before := full()
		for range 20 {
			ledger, err := lab.Run(ctx, workload.ClientFirst)
			if err != nil {
				t.Fatal(err)
			}
			sockets += 2 * len(ledger.Closes)
		}
		r.settled(nil)
		return sockets, full() - before
	}
	if sockets, lost := makes(other); lost != 0 {
		t.Errorf("%d map_full for %d sockets of another namespace", lost, sockets)
	}
	// The lab has a listening socket, and at most one other can find room beside it.
	sockets, lost := makes(lab)
	if lost > sockets || lost < sockets/2 {
		t.Errorf("%d map_full for %d sockets", lost, sockets)
	}
	t.Logf("%d map_full for %d sockets", lost, sockets)
}
