// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"finwait/output/jsonl"
	"finwait/output/trace"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

var recordTraces = flag.Bool("record-traces", false, "record a trace of every kind of close on this kernel into testdata/recordings; takes a minute and more")

const recordingsDir = "../../testdata/recordings"

// replayed is what finwait replay prints.
func replayed(t *testing.T, args []string, files ...string) string {
	t.Helper()
	f, _ := formOf(t, args)
	var out, says bytes.Buffer
	f.logLevel, f.logFormat = "warn", "console"
	if err := runReplay(t.Context(), &out, &says, f, files); err != nil {
		t.Fatal(err)
	}
	if says.Len() > 0 {
		t.Errorf("replay says: %s", says.String())
	}
	return out.String()
}

// same fails where two outputs differ, and shows the lines.
func same(t *testing.T, what, want, got string) {
	t.Helper()
	if want == got {
		return
	}
	diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))
	t.Errorf("%s (-want +got):\n%.4000s", what, diff)
}

// everyKind makes every kind of close that this kernel can.
func everyKind(t *testing.T, ctx context.Context, lab *workload.Lab) {
	t.Helper()
	for _, kind := range workload.Kinds() {
		if _, err := lab.Run(ctx, kind); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Fatal(err)
		}
	}
}

// TestRecordReplay traces every kind of close to a file and to the screen at once: what
// replay shows is what live showed, byte for byte, in every view, filter and output.
func TestRecordReplay(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{FinTimeout: 2 * time.Second})
	file := filepath.Join(t.TempDir(), "kinds.jsonl.zst")
	r := teeLab(t, ctx, lab, "-w", file)
	everyKind(t, ctx, lab)
	r.settled(nil)
	live := r.finish()
	for name, args := range forms {
		if live[name] == "" {
			t.Errorf("%s: nothing was shown", name)
		}
		same(t, name, live[name], replayed(t, args, file))
	}
	// The kernel has counted the same.
	end := r.session.end
	if len(end.Kernel) != 1 || end.Kernel[0].Counters[event.CounterTW].Ours < 10 {
		t.Fatalf("kernel counters: %+v", end.Kernel)
	}
	if d := differences(end.Kernel); d != "" {
		t.Errorf("the kernel's counters differ: %s", d)
	}
	for c := range event.CounterEnd {
		t.Logf("%v %+v", c, end.Kernel[0].Counters[c])
	}
}

// TestRecordParts: the parts of a recording together are the whole, and each is a trace.
func TestRecordParts(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	for _, ext := range []string{".jsonl", ".jsonl.zst", ".jsonl.gz"} {
		t.Run(ext, func(t *testing.T) {
			dir := t.TempDir()
			r := teeLab(t, ctx, lab, "-w", filepath.Join(dir, "trace"+ext), "--rotate-size", "20KiB", "--flush-every", "1ms")
			size := func(n int) func() bool {
				return func() bool { return r.outlet.(*recorder).parts.Number() > n }
			}
			for n := range 3 {
				for reached := false; !reached; {
					if _, err := lab.Storm(ctx, 200); err != nil {
						t.Fatal(err)
					}
					r.settled(func() bool { reached = size(n)(); return true })
				}
			}
			live := r.finish()
			files, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(files) < 4 {
				t.Fatalf("%d parts, %v", len(files), err)
			}
			for name, args := range forms {
				same(t, name, live[name], replayed(t, args, files...))
			}
			var rows int
			for i, file := range files {
				lines := strings.Split(strings.TrimSpace(replayed(t, []string{"-o", "json"}, file)), "\n")
				first, err1 := parseRecord(lines[0])
				last, err2 := parseRecord(lines[len(lines)-1])
				if err1 != nil || err2 != nil || first.Type != "trace_start" || last.Type != "trace_end" || !last.Complete {
					t.Errorf("%s goes from %s to %s: %v, %v", file, first.Type, last.Type, err1, err2)
				}
				transitions := strings.Count(strings.Join(lines, "\n"), `{"type":"transition"`)
				if uint64(transitions) != last.Totals["transitions"] {
					t.Errorf("%s: %d transitions, trace_end says %d", file, transitions, last.Totals["transitions"])
				}
				rows += transitions
				if want := trace.PartName(filepath.Join(dir, "trace"+ext), i+1); file != want {
					t.Errorf("part %d is called %s, want %s", i+1, file, want)
				}
			}
			if uint64(rows) != r.session.end.Transitions {
				t.Errorf("%d transitions in all parts, want %d", rows, r.session.end.Transitions)
			}
		})
	}
}

// counted reads a recording that may be cut, as far as it goes.
func counted(t *testing.T, path string) (rows int, cut bool) {
	t.Helper()
	m, err := trace.NewMerge([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for {
		rec, _, err := m.Next()
		if err == io.EOF {
			return rows, len(m.Sources()[0].Notes()) > 0
		}
		if err != nil {
			t.Fatalf("after %d rows: %v", rows, err)
		}
		if rec.Type == jsonl.TypeTransition {
			rows++
		}
	}
}

// TestRecordKilled kills recordings at 20 moments, or as many as FINWAIT_KILLS says: what
// could be read before can be read after, up to the last whole line, and the file says that
// it is cut.
func TestRecordKilled(t *testing.T) {
	s := newStage(t)
	kills := 20
	if n, err := strconv.Atoi(os.Getenv("FINWAIT_KILLS")); err == nil && n > 0 {
		kills = n
	}
	for i := range kills {
		ext := []string{".jsonl.zst", ".jsonl", ".jsonl.gz"}[i%3]
		file := filepath.Join(t.TempDir(), fmt.Sprintf("killed-%d%s", i, ext))
		p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab), "--flush-every", "1ms").live().start()
		want, seen := 1+(i*7919)%997, 0
		stormed := make(chan error, 1)
		ctx, stop := context.WithCancel(s.ctx)
		go func() {
			var err error
			for err == nil && ctx.Err() == nil {
				_, err = s.lab.Storm(s.ctx, 200)
			}
			stormed <- err
		}()
		p.await("recorded", func() bool {
			seen, _ = counted(t, file)
			return seen >= want
		})
		p.signal(syscall.SIGKILL)
		<-p.ended
		stop()
		if err := <-stormed; err != nil {
			t.Fatal(err)
		}
		rows, cut := counted(t, file)
		if rows < seen || !cut {
			t.Errorf("%s: %d rows, cut %v; %d had been seen", file, rows, cut, seen)
		}
		r := newProgram(t, "replay", "--strict", file).start().exits(exitStrict).says("is cut", "up to where the recording is cut")
		if n := strings.Count(r.out.String(), "\n"); n < rows {
			t.Errorf("%d lines replayed, want %d rows at least", n, rows)
		}
	}
}

// TestRecordDiskFull: the recording stops with an error that names the file and what is kept.
func TestRecordDiskFull(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("kernel lacks: a tmpfs here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	for _, name := range []string{"full.jsonl", "full.jsonl.zst", "full.jsonl.gz"} {
		file := filepath.Join(dir, name)
		p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab), "--flush-every", "1ms").live().start()
		for full := false; !full; {
			if _, err := s.lab.Storm(s.ctx, 400); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.ended:
				full = true
			default:
			}
		}
		p.exits(exitFailed).says("finwait: write "+file, "no space left on device", "KiB", "--rotate-size").hasTotalsBefore()
		rows, cut := counted(t, file)
		if rows < 10 || !cut {
			t.Errorf("%s: %d rows, cut %v", name, rows, cut)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// hasTotalsBefore fails unless the totals come before one last line, the error.
func (p *program) hasTotalsBefore() {
	p.t.Helper()
	lines := strings.Split(strings.TrimSpace(p.err.String()), "\n")
	if len(lines) < 2 || !totalsLine.MatchString(lines[len(lines)-2]) || strings.Count(p.err.String(), "no space") != 1 {
		p.t.Errorf("want the totals, and one error, at the end of:\n%s", p.err.String())
	}
}

// TestRecordBusy begins and ends traces in the middle of a storm: the kernel's counters
// agree all the same, but for what came while they were being read.
func TestRecordBusy(t *testing.T) {
	s := newStage(t)
	ctx, stop := context.WithCancel(s.ctx)
	stormed := make(chan error, 1)
	go func() {
		var err error
		for err == nil && ctx.Err() == nil {
			_, err = s.lab.Storm(s.ctx, 500)
		}
		stormed <- err
	}()
	for range 3 {
		p := newProgram(t, "record", "-w", "-", "--netns", inode(s.lab), "-d", "300ms", "--ring-size", "64MiB").live().start().exits(exitDone)
		p.hasTotals(false)
		if strings.Contains(p.err.String(), "DIFFER") {
			t.Errorf("%s", p.err.String())
		}
		r := jsonl.NewReader(strings.NewReader(p.out.String()))
		var end *event.End
		for {
			rec, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if rec.Type == jsonl.TypeEnd {
				end = rec.End
			}
		}
		if end == nil || len(end.Kernel) != 1 {
			t.Fatalf("no counters: %+v", end)
		}
		n := end.Kernel[0].Counters[event.CounterTW]
		if n.Ours < 100 || n.Unsure > n.Ours/2 {
			t.Errorf("nothing was compared: %+v", n)
		}
		t.Logf("%+v of %d", n, end.Born)
	}
	stop()
	if err := <-stormed; err != nil {
		t.Fatal(err)
	}
	t.Run("filtered", func(t *testing.T) {
		p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "-D", "1").live().start()
		runs(t, s, workload.ClientFirst)
		p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
		if !strings.Contains(p.out.String(), `"filtered":true`) || strings.Contains(p.out.String(), `"ours"`) {
			t.Errorf("with a filter, the counters are compared:\n%s", p.out.String())
		}
	})
}

// TestRecordKeep: only so many parts stay, and together they are what they are.
func TestRecordKeep(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "trace.jsonl.gz")
	other := trace.PartName(file, 99)
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab), "--rotate-every", "50ms", "--keep", "2").live().start()
	p.await("at part 5", func() bool {
		_, err := os.Stat(trace.PartName(file, 5))
		return err == nil
	})
	runs(t, s, workload.ClientFirst)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Errorf("%q, %v; want two parts, and what was there before", files, err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a file of somebody else is gone: %v", err)
	}
}

// TestRecordSignals: a recording that is stopped in an orderly way is whole.
func TestRecordSignals(t *testing.T) {
	s := newStage(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		file := filepath.Join(t.TempDir(), "trace.jsonl.zst")
		p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab)).live().start()
		runs(t, s, workload.ClientFirst, workload.Linger0)
		p.signal(sig).exits(exitDone).hasTotals(false)
		if p.out.String() != "" {
			t.Errorf("on stdout: %s", p.out.String())
		}
		r := newProgram(t, "replay", "--strict", "-o", "json", file).start().exits(exitDone)
		r.hasTotals(false)
		rows, end := r.whole()
		if n := uint64(len(of("transition", rows))); n == 0 || n != end.Totals["transitions"] || !end.Complete {
			t.Errorf("%v: %d transitions, trace_end %+v", sig, n, end)
		}
	}
	t.Run("duration and standard output", func(t *testing.T) {
		p := newProgram(t, "record", "-w", "-", "-d", "200ms").live().start().exits(exitDone)
		p.hasTotals(false)
		if _, end := p.whole(); end.Elapsed < 200*time.Millisecond {
			t.Errorf("%v", end.Elapsed)
		}
	})
	t.Run("the reader is gone", func(t *testing.T) {
		r, w := pipe(t)
		p := newProgram(t, "record", "-w", "-", "--netns", inode(s.lab), "--flush-every", "1ms").live()
		p.cmd.Stdout = w
		p.start()
		w.Close()
		r.Close()
		runs(t, s, workload.ClientFirst)
		p.exits(exitDone)
	})
}

// TestRecordRefuses: files are neither overwritten nor reached through links.
func TestRecordRefuses(t *testing.T) {
	needsKernel(t)
	dir := t.TempDir()
	file, link := filepath.Join(dir, "old.jsonl"), filepath.Join(dir, "link.jsonl")
	if err := errors.Join(os.WriteFile(file, []byte("old"), 0o644), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	newProgram(t, "record", "-w", file, "-d", "1s").start().exits(exitFailed).says("create "+file, "already exists", "--force")
	newProgram(t, "record", "-w", link, "-d", "1s").start().exits(exitFailed).says("create "+link, "symbolic link")
	newProgram(t, "record", "-w", link, "-d", "1s", "--force").start().exits(exitFailed).says("create "+link, "symbolic link")
	if b, err := os.ReadFile(file); err != nil || string(b) != "old" {
		t.Errorf("the file has %q, %v", b, err)
	}
	newProgram(t, "record", "-w", file, "-d", "100ms", "--force").start().exits(exitDone)
	if st, err := os.Stat(file); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// TestRecordProgress: the progress line is for terminals alone.
func TestRecordProgress(t *testing.T) {
	s := newStage(t)
	master, slave := terminal(t)
	dir := t.TempDir()
	p := newProgram(t, "record", "-w", filepath.Join(dir, "a.jsonl.zst"), "--netns", inode(s.lab), "--log-level", "error").live()
	p.cmd.Env = append(p.cmd.Env, "TERM=xterm")
	p.cmd.Stderr = slave
	p.start()
	slave.Close()
	runs(t, s, workload.ClientFirst)
	var text strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(text.String(), " events, ") || !strings.Contains(text.String(), "lost 0") {
		n, err := master.Read(b)
		if err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		text.Write(b[:n])
	}
	p.signal(os.Interrupt).exits(exitDone)
	if !strings.Contains(text.String(), "\r") || strings.Contains(text.String(), "\n") {
		t.Errorf("not one line: %q", text.String())
	}
	quiet := newProgram(t, "record", "-w", filepath.Join(dir, "b.jsonl.zst"), "-d", "1200ms", "--log-level", "error").start().exits(exitDone)
	if quiet.err.String() != "" {
		t.Errorf("where nobody looks: %q", quiet.err.String())
	}
}

func TestRecordUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"record", []string{"record needs a file", "-w incident.jsonl.zst"}},
		{"record -w /tmp/", []string{"--write", "name a file"}},
		{"record -w x --rotate-size big", []string{`--rotate-size "big"`, "100MiB"}},
		{"record -w x --rotate-size 0", []string{`--rotate-size "0"`}},
		{"record -w x --rotate-every -1s", []string{"--rotate-every -1s"}},
		{"record -w x --keep 2", []string{"--keep 2", "--rotate-size or --rotate-every"}},
		{"record -w x --keep -2 --rotate-every 1s", []string{"--keep -2"}},
		{"record -w x --flush-every 0s", []string{"--flush-every"}},
		{"record -w - --rotate-every 1s", []string{"need a file"}},
		{"record -w x -o wide", []string{"unknown shorthand flag", "--help"}},
		{"record x", []string{`"x"`, "--help"}},
		{"replay", []string{"replay needs a file", "- is standard input"}},
		{"replay x --closer me", []string{`--closer "me"`}},
		{"replay x -d 5s", []string{"unknown shorthand flag", "--help"}},
		{"schema x", []string{`"x"`, "--help"}},
	} {
		newProgram(t, strings.Fields(c.args)...).start().exits(exitUsage).says(c.want...)
	}
}
