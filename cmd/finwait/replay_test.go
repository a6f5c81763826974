// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"finwait/output/jsonl"
	"finwait/output/trace"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// recordKinds makes the recording of every kind of close; see CONTRIBUTING.md. The goldens
// of its table come from the live trace, not from a replay.
func recordKinds(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{FinTimeout: 2 * time.Second})
	raw := filepath.Join(t.TempDir(), "kinds.jsonl.zst")
	r := teeLab(t, ctx, lab, "-w", raw)
	everyKind(t, ctx, lab)
	// All but the last TIME_WAIT run out; one stays open when the trace ends.
	r.settled(func() bool { return r.session.flow.Stats().TimeWaits == 0 })
	if _, err := lab.Run(ctx, workload.ClientFirst); err != nil {
		t.Fatal(err)
	}
	r.settled(nil)
	live := r.finish()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	major := strings.Join(strings.SplitN(unix.ByteSliceToString(uts.Release[:]), ".", 3)[:2], ".")
	file := filepath.Join(recordingsDir, fmt.Sprintf("kinds-linux-%s.jsonl.zst", major))
	if err := os.MkdirAll(recordingsDir, 0o755); err != nil {
		t.Fatal(err)
	}
	anonymous(t, raw, file)
	for name, text := range live {
		if !namesHost(name) {
			if err := os.WriteFile(goldenOf(file, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// namesHost reports whether a form shows what anonymous takes away.
func namesHost(form string) bool { return strings.Contains(strings.Join(forms[form], " "), "json") }

func goldenOf(file, form string) string {
	return strings.TrimSuffix(file, ".jsonl.zst") + "." + form + ".golden"
}

// anonymous copies a recording without what names this host: where the test's binary
// lies, and which host it is.
func anonymous(t *testing.T, from, to string) {
	t.Helper()
	m, err := trace.NewMerge([]string{from})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	w, err := trace.Create(to, true)
	if err != nil {
		t.Fatal(err)
	}
	j := jsonl.New(w, event.Clock{})
	hide := func(p *event.Process) {
		if p.Known() {
			p.Exe, p.Cgroup, p.Container = "/usr/bin/finwait", "/demo.slice/demo.service", ""
		}
	}
	for {
		rec, _, err := m.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		j.SetClock(rec.Clock)
		switch rec.Type {
		case jsonl.TypeTransition:
			tr := &rec.Transition
			hide(&tr.Process)
			hide(&tr.PeerProcess)
			if tr.TimeWait != nil {
				hide(&tr.TimeWait.Successor)
			}
			err = j.Transition(tr)
		case jsonl.TypeConnectError:
			hide(&rec.ConnectError.Process)
			err = j.ConnectError(&rec.ConnectError)
		case jsonl.TypeRelease:
			hide(&rec.Release.Process)
			err = j.Release(&rec.Release)
		case jsonl.TypeLoss:
			err = j.Loss(&rec.Loss)
		case jsonl.TypeStart:
			s := rec.Start
			s.Kernel, _, _ = strings.Cut(s.Kernel, "-")
			s.Host, s.BootID, s.CommandLine = "lab", "00000000-0000-4000-8000-000000000000", []string{"finwait", "record", "-w", filepath.Base(to)}
			err = j.Start(s)
		case jsonl.TypeEnd:
			err = j.End(rec.End)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestReplayRecordings replays what real kernels did in every form. What the tables said
// live is in the goldens.
func TestReplayRecordings(t *testing.T) {
	if *recordTraces {
		recordKinds(t)
	}
	files, err := filepath.Glob(filepath.Join(recordingsDir, "*.jsonl.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, file := range files {
		for name, args := range forms {
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				got := replayed(t, args, file)
				if name == "json" { // the recording itself
					same(t, name, got, unpacked(t, file))
					return
				}
				golden := goldenOf(file, name)
				if *update || *recordTraces && namesHost(name) {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				same(t, golden, string(want), got)
			})
		}
	}
}

// unpacked is a recording as text.
func unpacked(t testing.TB, file string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plain.jsonl")
	m, err := trace.NewMerge([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	w, err := trace.Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	j := struct{ *jsonl.Writer }{jsonl.New(w, event.Clock{})}
	for {
		rec, _, err := m.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		j.SetClock(rec.Clock)
		if err := rec.Hand(j); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func kinds(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordingsDir, "kinds-*.jsonl.zst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	return files[0]
}

// TestReplayProgram: the program as it is called.
func TestReplayProgram(t *testing.T) {
	file := kinds(t)
	text := unpacked(t, file)
	all := strings.Count(text, `{"type":"transition"`) + strings.Count(text, `{"type":"release"`)
	t.Run("standard input", func(t *testing.T) {
		p := newProgram(t, "replay", "-", "--no-header")
		p.cmd.Stdin = strings.NewReader(text)
		p.start().exits(exitDone).hasTotals(false)
		if n := strings.Count(p.out.String(), "\n"); n < all {
			t.Errorf("%d rows, want %d", n, all)
		}
	})
	t.Run("count", func(t *testing.T) {
		p := newProgram(t, "replay", file, "-c", "3", "--strict").start().exits(exitDone)
		if n := strings.Count(p.out.String(), "\n"); n != 4 {
			t.Errorf("%d lines, want a heading and 3 rows", n)
		}
	})
	t.Run("closed pipe", func(t *testing.T) {
		r, w := pipe(t)
		p := newProgram(t, "replay", file, file)
		p.cmd.Stdout = w
		p.start()
		w.Close()
		r.Close()
		p.exits(exitDone)
	})
	t.Run("garbled", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "bad.jsonl")
		lines := strings.SplitAfter(text, "\n")
		if err := os.WriteFile(bad, []byte(strings.Join(lines[:10], "")+"{\"type\":\n"+strings.Join(lines[10:], "")), 0o600); err != nil {
			t.Fatal(err)
		}
		p := newProgram(t, "replay", "--no-header", bad).start().exits(exitFailed).says("read "+bad, "line 11", "sed 11d")
		if n := strings.Count(p.out.String(), "\n"); n < 5 {
			t.Errorf("%d rows before the bad line", n)
		}
	})
	t.Run("little memory", func(t *testing.T) {
		sh := needsTool(t, "sh")
		bomb := filepath.Join(t.TempDir(), "bomb.jsonl.zst")
		w, err := trace.Create(bomb, false)
		if err != nil {
			t.Fatal(err)
		}
		first := text[:strings.IndexByte(text, '\n')+1]
		if _, err := w.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		block := bytes.Repeat([]byte("x"), 1<<20)
		for range 1 << 10 {
			if _, err := w.Write(block); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p := newProgram(t)
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		p.cmd.Path, p.cmd.Args = sh, []string{"sh", "-c", `ulimit -d 262144; exec "$0" "$@"`, program, "replay", bomb}
		p.start().exits(exitFailed).says("line 2", "longer than 1 MiB")
	})
	t.Run("nothing there", func(t *testing.T) {
		newProgram(t, "replay", "no-such-file").start().exits(exitFailed).says("no-such-file", "no such file")
	})
	t.Run("schema", func(t *testing.T) {
		p := newProgram(t, "schema").start().exits(exitDone)
		if p.out.String() != jsonl.Schema {
			t.Error("not the schema")
		}
	})
}

// BenchmarkReplay is the way from a recording to rows, the file's compression included.
func BenchmarkReplay(b *testing.B) {
	text := unpacked(b, kinds(b))
	file := filepath.Join(b.TempDir(), "long.jsonl.zst")
	w, err := trace.Create(file, false)
	if err != nil {
		b.Fatal(err)
	}
	transitions := 0
	for range 2000 {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, `{"type":"transition"`) {
				transitions++
				if _, err := w.Write([]byte(line)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	for _, args := range [][]string{{"-o", "table"}, {"-o", "json"}, {"--view", "closes"}, {"--method", "abort"}} {
		b.Run(strings.TrimLeft(strings.Join(args, ""), "-"), func(b *testing.B) {
			f := liveFlags{output: "table", view: "transitions", color: "never", logLevel: "error", logFormat: "json"}
			switch args[0] {
			case "-o":
				f.output = args[1]
			case "--view":
				f.view = args[1]
			case "--method":
				f.method = args[1]
			}
			b.ReportAllocs()
			cpu := cpuTime(b)
			for b.Loop() {
				if err := runReplay(b.Context(), io.Discard, io.Discard, f, []string{file}); err != nil {
					b.Fatal(err)
				}
			}
			n := float64(transitions) * float64(b.N)
			b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(n/(cpuTime(b)-cpu).Seconds(), "events/cpu-s")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
