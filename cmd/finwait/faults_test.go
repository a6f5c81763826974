// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"finwait/output/jsonl"
	"finwait/output/trace"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// breaking keeps hooks from being attached.
func breaking(hooks ...tracer.Hook) func(string) error {
	var ways []string
	for _, h := range hooks {
		for _, w := range h.Ways {
			ways = append(ways, w.Name)
		}
	}
	return func(way string) error {
		if slices.Contains(ways, way) {
			return errors.New("broken on purpose")
		}
		return nil
	}
}

// TestHookFails breaks each hook in turn. Without a required one there is no trace, and exit
// status 4; without another one there is, and everything that tells of hooks says so.
func TestHookFails(t *testing.T) {
	s := newStage(t)
	probe := probes(t)[0]
	optional := 0
	for _, h := range tracer.AllHooks() {
		t.Run(h.Name, func(t *testing.T) {
			opt := tracer.Options{Probe: probe, Break: breaking(h), Filter: tracer.Filter{NetNS: s.lab.NetNS()}}
			tr, err := tracer.Open(opt)
			if h.Required {
				if err == nil {
					inUse := slices.ContainsFunc(tr.Hooks(), func(x tracer.HookStatus) bool { return x.Name == h.Name })
					tr.Close()
					if inUse {
						t.Error("there is a trace without it")
					}
					return // the other probe's
				}
				if exitStatus(err) != exitKernel || !strings.Contains(err.Error(), "hook "+h.Name) || !strings.Contains(err.Error(), "broken on purpose") {
					t.Errorf("error = %v, exit status %d", err, exitStatus(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			status := func() (status *tracer.HookStatus) {
				for _, x := range tr.Hooks() {
					if x.Name == h.Name {
						status = &x
					}
				}
				return status
			}()
			if err := tr.Close(); err != nil {
				t.Fatal(err)
			}
			if status == nil {
				return // the other probe's
			}
			optional++
			if status.Attached != "" || len(status.Errs) == 0 {
				t.Fatalf("attached by %q, %v", status.Attached, status.Errs)
			}
			tick, err := tracer.Tick()
			if err != nil {
				t.Fatal(err)
			}
			// The log and doctor; trace_start, and from it the report.
			var doctor bytes.Buffer
			if err := runDoctor(&doctor, opt); err != nil {
				t.Error(err)
			}
			if text := doctor.String(); !strings.Contains(text, "lost: "+h.Lost) || !strings.Contains(text, "broken on purpose") {
				t.Errorf("doctor does not say what is lost:\n%s", text)
			}
			r := traceLab(t, s.ctx, s.lab, opt)
			file := filepath.Join(t.TempDir(), "trace.jsonl")
			out, err := os.Create(file)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			start := describe(r.tracer, tick)
			w := jsonl.New(out, start.Clock)
			var said bytes.Buffer
			log, err := newLogger(&said, "info", "json", false)
			if err != nil {
				t.Fatal(err)
			}
			logStart(log, r.tracer)
			if !strings.Contains(said.String(), h.Name) || !strings.Contains(said.String(), "not attached; lost: ") {
				t.Errorf("the log does not say what is lost:\n%s", said.String())
			}
			runs(t, s, workload.ClientFirst, workload.ServerFirst)
			seen := r.settled(nil)
			r.finish()
			if len(seen.rows) == 0 {
				t.Error("nothing was traced")
			}
			err = w.Start(start)
			for i := range seen.rows {
				err = errors.Join(err, w.Transition(&seen.rows[i]))
			}
			if err = errors.Join(err, w.End(&event.End{KTime: tracer.Now()})); err != nil {
				t.Fatal(err)
			}
			p := newProgram(t, "report", file).start().exits(exitDone)
			words := strings.Fields(h.Lost) // the report wraps
			if text := strings.Join(strings.Fields(p.out.String()), " "); !strings.Contains(text, strings.Join(words[:min(len(words), 8)], " ")) {
				t.Errorf("the report does not say that it lacks %q:\n%s", h.Lost, p.out.String())
			}
		})
	}
	if optional == 0 {
		t.Error("no optional hook was broken")
	}
}

// TestHooksFail: without anything that can be missing there is still who closed first.
func TestHooksFail(t *testing.T) {
	s := newStage(t)
	optional := slices.DeleteFunc(tracer.AllHooks(), func(h tracer.Hook) bool { return h.Required })
	s.rig = traceLab(t, s.ctx, s.lab, tracer.Options{Break: breaking(optional...)})
	closes := runs(t, s, workload.ClientFirst, workload.ServerFirst, workload.Linger0)
	seen := s.rig.settled(nil)
	s.rig.finish()
	sides := sidesOf(closes)
	found := 0
	for i := range seen.rows {
		row := &seen.rows[i]
		side := sides[ends{row.Local, row.Peer}]
		if side == nil {
			continue
		}
		found++
		if row.Closer.String() != side.Closer || row.Method.String() != side.Method || row.Process.Known() && int(row.Process.PID) != side.PID {
			t.Errorf("%v → %v: closed by %v, %v; process %d\n\tledger %+v", row.Old, row.New, row.Closer, row.Method, row.Process.PID, *side)
		}
	}
	if found == 0 {
		t.Error("nothing was traced")
	}
}

// TestRingFails: the ring goes away under its reader.
func TestRingFails(t *testing.T) {
	lab, _ := newLab(t, workload.Options{})
	tr, err := tracer.Open(tracer.Options{Filter: tracer.Filter{NetNS: lab.NetNS()}})
	if err != nil {
		t.Fatal(err)
	}
	got := &closing{tally: tally{lost: map[event.LossReason]uint64{}}, close: func() { tr.Close() }}
	if err := tr.Run(t.Context(), got); err == nil || exitStatus(err) != exitFailed || !strings.Contains(err.Error(), "read the ring") {
		t.Errorf("error = %v, want one about the ring", err)
	}
	if got.after > 0 {
		t.Errorf("the handler was called %d times after it had ended", got.after)
	}
}

// closing closes its tracer as soon as it hears from it.
type closing struct {
	tally
	close func()
	done  bool
	after int
}

func (c *closing) Advance(int64) error {
	if c.done {
		c.after++
	}
	c.done = true
	c.close()
	return nil
}

// TestRingGarbage spoils records on their way: each is counted, and what is left is right.
func TestRingGarbage(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	spoiled := uint64(0)
	n := 0
	r := traceLab(t, ctx, lab, tracer.Options{RingBytes: 64 << 20, Tap: func(raw []byte) {
		if n++; n%7 != 0 {
			return
		}
		spoiled++
		switch n % 3 {
		case 0:
			raw[118] = 0xee // kind
		case 1:
			for i := range raw {
				raw[i] = 0xff
			}
		case 2:
			raw[119] = 5 // family
			raw[122] = 9 // attribution
		}
	}})
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
	if spoiled == 0 || c.Lost[event.LossBadRecord] != spoiled {
		t.Errorf("%d spoiled, %d counted", spoiled, c.Lost[event.LossBadRecord])
	}
	var told uint64
	for _, l := range r.losses {
		told += l.Count
	}
	if told != spoiled {
		t.Errorf("%d spoiled, %d in loss records", spoiled, told)
	}
	r.right(storm.Closes)
}

// right fails where a row says something else than the ledger. What it does not say is lost.
func (r *rig) right(closes []workload.Close) {
	r.t.Helper()
	sides := sidesOf(closes)
	found, wrong := 0, 0
	for i := range r.rows {
		row := &r.rows[i]
		side := sides[ends{row.Local, row.Peer}]
		if side == nil {
			continue
		}
		found++
		if row.Closer != event.CloserUnknown && row.Closer.String() != side.Closer ||
			row.Method != event.MethodUnknown && row.Method.String() != side.Method ||
			row.Call != event.MethodUnknown && row.Call.String() != side.Method && row.Closer == event.CloserLocal && row.Old == event.Established ||
			row.Process.Known() && int(row.Process.PID) != side.PID && int(row.Process.PID) != side.Opener {
			if wrong++; wrong <= 5 {
				r.t.Errorf("a wrong row: %v → %v, closed by %v, %v, call %v, process %d\n\tledger %+v", row.Old, row.New, row.Closer, row.Method, row.Call, row.Process.PID, *side)
			}
		}
	}
	if found == 0 {
		r.t.Error("no row of the storm")
	}
	r.t.Logf("%d rows of the storm, %d wrong", found, wrong)
}

// failing is a writer whose n-th write, and every later one, fails.
type failing struct {
	n, writes int
	out       bytes.Buffer
}

var errDisk = errors.New("the disk is gone")

func (f *failing) Write(b []byte) (int, error) {
	if f.writes++; f.writes >= f.n {
		return 0, errDisk
	}
	return f.out.Write(b)
}

// TestOutputFails: standard output fails at each of its writes, in every form.
func TestOutputFails(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(recordingsDir, "*.jsonl.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for name, args := range forms {
		f, _ := formOf(t, args)
		f.logLevel, f.logFormat = "info", "console"
		for n := 1; ; n++ {
			w := &failing{n: n}
			var said bytes.Buffer
			err := runReplay(t.Context(), w, &said, f, files[:1])
			if w.writes < n {
				if err != nil || n == 1 {
					t.Errorf("%s: error = %v after %d writes", name, err, w.writes)
				}
				break
			}
			if !errors.Is(err, errDisk) || exitStatus(err) != exitFailed {
				t.Errorf("%s: write %d: error = %v", name, n, err)
			}
			if !totalsLine.MatchString(said.String()) {
				t.Errorf("%s: write %d: no totals: %s", name, n, said.String())
			}
		}
	}
	// Each record by itself: without a buffer there are many more places to fail.
	records := everyRecord(t, files[0])
	for name, args := range forms {
		f, flt := formOf(t, args)
		for n := 1; ; n++ {
			w := &failing{n: n}
			s := newView(newSink(w, &f, event.Clock{}, false), &f, flt).stream()
			var failed error
			for _, rec := range records {
				if failed = rec.Hand(handed{s}); failed != nil {
					break
				}
			}
			if failed == nil {
				failed = s.flush(1 << 62)
			}
			if w.writes < n {
				break
			}
			if !errors.Is(failed, errDisk) {
				t.Fatalf("%s: write %d: error = %v", name, n, failed)
			}
			if whole := w.out.String(); whole != "" && !strings.HasSuffix(whole, "\n") {
				t.Fatalf("%s: write %d: a line is cut: %q", name, n, whole[max(0, len(whole)-80):])
			}
		}
	}
}

// handed ends a stream as a replay does.
type handed struct{ *stream }

func (h handed) End(e *event.End) error { return h.conclude(e) }

func everyRecord(t *testing.T, file string) (list []*jsonl.Record) {
	t.Helper()
	m, err := trace.NewMerge([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for {
		rec, _, err := m.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		one := *rec
		list = append(list, &one)
	}
}

// TestRecordLimit lets the file system refuse at every size: the recording ends with exit
// status 1, says how much was kept, and that much can be read.
func TestRecordLimit(t *testing.T) {
	s := newStage(t)
	kept := regexp.MustCompile(`records up to number (\d+) at least`)
	for i, size := range []int{1, 100, 700, 1500, 2500, 5000, 10_000, 20_000, 40_000} {
		for _, ext := range []string{".jsonl", ".jsonl.zst", ".jsonl.gz"} {
			file := filepath.Join(t.TempDir(), fmt.Sprintf("limit-%d%s", i, ext))
			p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab), "--flush-every", "1ms").in(fmt.Sprintf("fsize=%d", size)).live()
			if size < 2000 { // trace_start does not fit: it may fail before it is ready
				p.cmd.Args, p.ready = p.cmd.Args[:len(p.cmd.Args)-2], ""
			}
			p.start()
			for ended := false; !ended; {
				if _, err := s.lab.Storm(s.ctx, 200); err != nil {
					t.Fatal(err)
				}
				select {
				case <-p.ended:
					ended = true
				default:
				}
			}
			p.exits(exitFailed).says("finwait: write "+file, "file too large", "kept are", "last whole line")
			if strings.Contains(p.err.String(), "goroutine") {
				t.Fatalf("a panic:\n%s", p.err.String())
			}
			match := kept.FindStringSubmatch(p.err.String())
			if match == nil {
				t.Fatalf("it does not say how much was kept: %s", p.err.String())
			}
			promised, _ := strconv.Atoi(match[1])
			rows, _ := counted(t, file)
			if rows < promised-1 { // trace_start is a record, and no row
				t.Errorf("%s of %d bytes: %d rows can be read, %d records were promised", ext, size, rows, promised)
			}
		}
	}
}

// TestSignalsDuringStart: at whatever moment of its start finwait is told to end, it does, in
// an orderly way from the moment on that it has begun to listen, and leaves nothing in the kernel.
func TestSignalsDuringStart(t *testing.T) {
	s := newStage(t)
	// How long a start takes here, to choose moments from.
	began := time.Now()
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).live().start()
	whole := time.Since(began)
	p.signal(os.Interrupt).exits(exitDone)
	orderly := 0
	for i := range 24 {
		sig := []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}[i%2]
		file := filepath.Join(t.TempDir(), "trace.jsonl")
		p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab)).start()
		ctx, stop := context.WithTimeout(s.ctx, time.Duration(rand.Int64N(int64(whole))))
		<-ctx.Done()
		stop()
		held := kernelObjects(p.cmd.Process.Pid)
		p.signal(sig)
		<-p.ended
		ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case ws.Exited() && ws.ExitStatus() == exitDone:
			orderly++
			p.hasTotals(false)
			if rows, cut := counted(t, file); rows != 0 || cut {
				t.Errorf("%d rows, cut %v", rows, cut)
			}
		case ws.Signaled() && ws.Signal() == sig: // before there was anything to end
			if _, err := os.Stat(file); err == nil || len(held) > 0 {
				t.Errorf("killed by %v with %d objects in the kernel, and a file: %v", sig, len(held), err == nil)
			}
		default:
			t.Errorf("%v: %v: %s", sig, p.cmd.ProcessState, p.err.String())
		}
		gone(t, s.ctx, held)
	}
	t.Logf("%d of 24 ended in an orderly way", orderly)
}

// kernelObjects lists the BPF programs that a process holds, from its descriptors.
func kernelObjects(pid int) (programs []ebpf.ProgramID) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if id, ok := strings.CutPrefix(line, "prog_id:\t"); ok {
				n, err := strconv.ParseUint(strings.TrimSpace(id), 10, 32)
				if err == nil {
					programs = append(programs, ebpf.ProgramID(n))
				}
			}
		}
	}
	return programs
}

// gone waits until the kernel has none of these any more: it frees them a moment later.
func gone(t *testing.T, ctx context.Context, programs []ebpf.ProgramID) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, id := range programs {
		for {
			p, err := ebpf.NewProgramFromID(id)
			if err != nil {
				break
			}
			p.Close()
			select {
			case <-ctx.Done():
				t.Fatalf("program %d stays in the kernel", id)
			case <-tick.C:
			}
		}
	}
}

// TestKilledLeavesNothing: not even kill -9 leaves anything in the kernel.
func TestKilledLeavesNothing(t *testing.T) {
	s := newStage(t)
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).live().start()
	held := kernelObjects(p.cmd.Process.Pid)
	if len(held) < 5 {
		t.Fatalf("%d programs", len(held))
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
	gone(t, s.ctx, held)
}
