// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"finwait/output/jsonl"
	"finwait/tracer/event"
)

var clock = event.Clock{Offset: 1_700_000_000_000_000_000}

// transition is a record that is told from others by its time and its host's port.
func transition(ktime int64, port uint16) *event.Transition {
	return &event.Transition{
		KTime: ktime, Old: event.Established, New: event.CloseWait,
		Socket: event.Socket{Family: 4, Local: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), port), Peer: netip.MustParseAddrPort("10.0.0.2:80")},
	}
}

// write makes a file; a time is a transition at that time.
func write(t *testing.T, path string, c event.Clock, records ...any) {
	t.Helper()
	w, err := Create(path, false)
	if err != nil {
		t.Fatal(err)
	}
	j := jsonl.New(w, c)
	for _, r := range records {
		switch r := r.(type) {
		case event.Start:
			err = j.Start(&r)
		case event.End:
			err = j.End(&r)
		case int:
			err = j.Transition(transition(int64(r), uint16(c.Offset-clock.Offset)+1))
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// merged reads files as one line of text for each record.
func merged(t *testing.T, paths ...string) (lines []string, notes []string, err error) {
	t.Helper()
	m, err := NewMerge(paths)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for {
		rec, src, err := m.Next()
		if err != nil {
			for _, s := range m.Sources() {
				notes = append(notes, s.Notes()...)
			}
			if err == io.EOF {
				err = nil
			}
			return lines, notes, err
		}
		line := fmt.Sprintf("%d %s %d", src.Index, rec.Type, rec.Wall()-clock.Offset)
		if rec.Type == jsonl.TypeEnd {
			line += fmt.Sprintf(" %d", rec.End.Transitions)
		}
		lines = append(lines, line)
	}
}

func TestRoundTrip(t *testing.T) {
	want := []string{"0 trace_start 1", "0 transition 2", "0 transition 3", "0 trace_end 4 2"}
	for _, name := range []string{"t.jsonl", "t.jsonl.gz", "t.jsonl.zst", "t"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			write(t, path, clock, event.Start{KTime: 1, Clock: clock}, 2, 3, event.End{KTime: 4, Transitions: 2})
			disguised := filepath.Join(t.TempDir(), "disguised.txt")
			if err := os.Rename(path, disguised); err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(disguised)
			if err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
			}
			raw, err := os.ReadFile(disguised)
			if err != nil {
				t.Fatal(err)
			}
			if isPlain := raw[0] == '{'; isPlain != (filepath.Ext(name) == ".jsonl" || name == "t") {
				t.Errorf("begins with %q", raw[:4])
			}
			got, notes, err := merged(t, disguised)
			if diff := cmp.Diff(want, got); diff != "" || err != nil || len(notes) > 0 {
				t.Errorf("%v, %q (-want +got):\n%s", err, notes, diff)
			}
		})
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(path("old"), []byte("old"), 0o644), os.Symlink(path("target"), path("dangling")), os.Symlink(path("old"), path("link")),
		os.Mkdir(path("dir"), 0o755), unix.Mkfifo(path("fifo"), 0o600), os.Link(path("old"), path("hard")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name  string
		force bool
		says  string // empty: it is made
	}{
		{"new", false, ""}, {"new2", true, ""},
		{"old", false, "--force"},
		{"dangling", false, "symbolic link"}, {"dangling", true, "symbolic link"},
		{"link", false, "symbolic link"}, {"link", true, "symbolic link"},
		{"dir", false, "not a regular file"}, {"dir", true, "not a regular file"}, {"fifo", true, "not a regular file"},
		{"no/such/dir", false, "no such file or directory"},
		{"hard", true, ""},
	} {
		f, err := create(path(tc.name), tc.force)
		if tc.says == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			if st, err := f.Stat(); err != nil || st.Mode() != 0o600 {
				t.Errorf("%s: mode %v, %v", tc.name, st.Mode(), err)
			}
			f.Close()
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path(tc.name)) {
			t.Errorf("%s: %v; want %q", tc.name, err, tc.says)
		}
	}
	if b, err := os.ReadFile(path("old")); err != nil || string(b) != "old" {
		t.Errorf("the other name of a file that was replaced has %q, %v", b, err)
	}
	if _, err := os.Stat(path("target")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a link points to was made: %v", err)
	}
}

// TestCut cuts a file at every byte: what was flushed before is there, and it says so.
func TestCut(t *testing.T) {
	for _, name := range []string{"t.jsonl", "t.jsonl.gz", "t.jsonl.zst"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			w, err := Create(path, false)
			if err != nil {
				t.Fatal(err)
			}
			j := jsonl.New(w, clock)
			var flushed []int64 // size of the file when it had so many records
			for i := range 6 {
				if err := errors.Join(j.Transition(transition(int64(i), 1)), w.Flush()); err != nil {
					t.Fatal(err)
				}
				flushed = append(flushed, w.Size())
			}
			if err := errors.Join(j.End(&event.End{}), w.Close()); err != nil {
				t.Fatal(err)
			}
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			cut := filepath.Join(t.TempDir(), "cut")
			step := 1
			if name == "t.jsonl" {
				step = 13 // TestReaderCut has every byte
			}
			for n := 0; n <= len(whole); n += step {
				if err := os.WriteFile(cut, whole[:n], 0o600); err != nil {
					t.Fatal(err)
				}
				got, notes, err := merged(t, cut)
				least := 0
				for least < len(flushed) && flushed[least] <= int64(n) {
					least++
				}
				if err != nil || len(got) < least {
					t.Fatalf("cut at %d of %d: %d records, %v; want at least %d", n, len(whole), len(got), err, least)
				}
				if complete := len(got) == 7; complete != (len(notes) == 0) {
					t.Fatalf("cut at %d of %d: %d records, %q", n, len(whole), len(got), notes)
				}
			}
		})
	}
}

// TestDamaged changes bytes in the middle: no panic, an error that names the file, and
// what came before is kept.
func TestDamaged(t *testing.T) {
	for _, name := range []string{"t.jsonl", "t.jsonl.gz", "t.jsonl.zst"} {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, clock, 1, 2, 3, 4, 5, 6, 7, 8, event.End{KTime: 9})
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := filepath.Join(t.TempDir(), "bad")
		told := 0
		for i := 16; i < len(whole); i += 7 {
			b := bytes.Clone(whole)
			b[i] ^= 0x55
			if err := os.WriteFile(bad, b, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := NewMerge([]string{bad})
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, _, err = m.Next()
			}
			if err != io.EOF {
				told++
				if !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "line ") {
					t.Fatalf("%s: %v: does not say where", name, err)
				}
			}
			m.Close()
		}
		if told < len(whole)/70 {
			t.Errorf("%s: %d of %d damages were noticed", name, told, len(whole))
		}
	}
}

func TestHints(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	write(t, good, clock, 1, 2)
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, text, says string }{
		{"picture", "\x89PNG\r\n", "is it a trace"},
		{"garbled", string(b) + "{\n" + string(b), "sed 3d"},
		{"newer", strings.ReplaceAll(string(b), `"schema_version":1`, `"schema_version":9`), "newer"},
	} {
		path := filepath.Join(dir, tc.name)
		if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := merged(t, path); err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want %q", tc.name, err, tc.says)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "nothing")} {
		if _, err := NewMerge([]string{good, path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	part := func(n int) event.Part { return event.Part{Number: n, Began: 1} }
	start := func(ktime int64, host string, n int) event.Start {
		return event.Start{KTime: ktime, Clock: clock, Host: host, BootID: "b", Part: part(n)}
	}
	// The clock of the second host began 10 ns later: its 1 is the first one's 11.
	later := event.Clock{Offset: clock.Offset + 10}
	write(t, path("a1"), clock, start(1, "a", 1), 2, 6, event.End{KTime: 7, Transitions: 2})
	write(t, path("a2"), clock, start(7, "a", 2), 5, 15, event.End{KTime: 16, Transitions: 2})
	write(t, path("a3"), clock, start(16, "a", 3), 17, event.End{KTime: 20, Transitions: 1})
	write(t, path("b"), later, 1, 3, 8)
	for _, tc := range []struct {
		name  string
		files []string
		want  []string
		notes []string
	}{
		{"parts in any order", []string{"a3", "a1", "a2", "a1"}, []string{
			"0 trace_start 1", "0 transition 2", "0 transition 6", "0 transition 5", "0 transition 15", "0 transition 17", "0 trace_end 20 5",
		}, nil},
		{"one part alone", []string{"a2"}, []string{"0 trace_start 7", "0 transition 5", "0 transition 15", "0 trace_end 16 2"}, nil},
		{"a part is missing", []string{"a1", "a3"}, []string{
			"0 trace_start 1", "0 transition 2", "0 transition 6", "0 transition 17", "0 trace_end 20 3",
		}, []string{"parts 2 to 2 of this recording are not here"}},
		{"two hosts", []string{"b", "a1", "a2"}, []string{
			"1 trace_start 1", "1 transition 2", "1 transition 6", "1 transition 5", "0 transition 11", "0 transition 13", "1 transition 15", "1 trace_end 16 4", "0 transition 18",
		}, []string{"b is cut"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var files []string
			for _, f := range tc.files {
				files = append(files, path(f))
			}
			got, notes, err := merged(t, files...)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if len(notes) != len(tc.notes) || len(notes) > 0 && !strings.Contains(notes[0], tc.notes[0]) {
				t.Errorf("notes %q, want %q", notes, tc.notes)
			}
		})
	}
	t.Run("one is garbled", func(t *testing.T) {
		if err := os.WriteFile(path("bad"), []byte("no\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, err := merged(t, path("bad"), path("b"))
		if len(got) != 3 || !errors.Is(err, jsonl.ErrRecord) {
			t.Errorf("%d records, %v; want all of the other file, and the error", len(got), err)
		}
	})
	t.Run("a pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := os.ReadFile(path("a1"))
		if err != nil {
			t.Fatal(err)
		}
		go func() { w.Write(b); w.Close() }()
		got, _, err := merged(t, fmt.Sprintf("/proc/self/fd/%d", r.Fd()), path("a2"))
		if len(got) != 6 || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestPartName(t *testing.T) {
	for in, want := range map[string]string{
		"a.jsonl.zst": "a.0001.jsonl.zst", "/x.y/a.jsonl.gz": "/x.y/a.0001.jsonl.gz", "a.zst": "a.0001.zst", "a": "a.0001",
		"a.b.jsonl": "a.b.0001.jsonl", "dir/.zst": "dir/.zst.0001", "trace.log": "trace.log.0001",
	} {
		if got := PartName(in, 1); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	p := NewParts(path, Rotation{Size: 10, Every: time.Minute, Keep: 2}, false)
	for i := range 4 {
		w, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if p.Number() != i+1 || p.Due(time.Second) || !p.Due(time.Minute) {
			t.Errorf("part %d: due %v, %v", p.Number(), p.Due(time.Second), p.Due(time.Minute))
		}
		if _, err := w.Write([]byte("0123456789\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil || !p.Due(0) {
			t.Errorf("large enough, not due: %v", err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if diff := cmp.Diff([]string{PartName(path, 3), PartName(path, 4)}, left); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
