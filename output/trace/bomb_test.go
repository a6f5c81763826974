// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"finwait/output/jsonl"
)

// TestBomb reads little files that are huge when they are unpacked: it takes an error, or
// time, and little memory.
func TestBomb(t *testing.T) {
	const size = 1 << 30
	pack := map[string]func(io.Writer) io.WriteCloser{
		"zst": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w)
			if err != nil {
				t.Fatal(err)
			}
			return z
		},
		"gz": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	}
	var good bytes.Buffer
	if err := jsonl.New(&good, clock).Transition(transition(1, 1)); err != nil {
		t.Fatal(err)
	}
	for name, with := range pack {
		path := filepath.Join(t.TempDir(), "bomb."+name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		z := with(f)
		block := bytes.Repeat([]byte("x"), 1<<20)
		_, err = z.Write(good.Bytes())
		for range size / len(block) {
			if _, werr := z.Write(block); werr != nil {
				err = werr
			}
		}
		if err := errors.Join(err, z.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		got, _, err := merged(t, path)
		runtime.ReadMemStats(&after)
		if len(got) != 1 || !errors.Is(err, jsonl.ErrLong) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %d records, %v; want 1, and line 2 too long", name, len(got), err)
		}
		if grown := int64(after.TotalAlloc) - int64(before.TotalAlloc); grown > 64<<20 {
			t.Errorf("%s: %d MiB were allocated", name, grown>>20)
		}
	}
	// A frame that asks for a window of 3.75 TiB.
	path := filepath.Join(t.TempDir(), "window.zst")
	if err := os.WriteFile(path, []byte("\x28\xb5\x2f\xfd\x00\xff\x09\x00\x00x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := merged(t, path); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("a window of terabytes: %v", err)
	}
}

func BenchmarkRead(b *testing.B) {
	sample, err := os.ReadFile("../../testdata/samples/linux-6.18-timer.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"t.jsonl", "t.jsonl.gz", "t.jsonl.zst"} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), name)
			w, err := Create(path, false)
			if err != nil {
				b.Fatal(err)
			}
			records := 0
			for ; records < 200_000; records += bytes.Count(sample, []byte("\n")) {
				if _, err := w.Write(sample); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			cpu := spent(b)
			for b.Loop() {
				m, err := NewMerge([]string{path})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for ; ; n++ {
					if _, _, err := m.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				m.Close()
				if n != records {
					b.Fatalf("%d records, want %d", n, records)
				}
			}
			b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(records)*float64(b.N)/(spent(b)-cpu).Seconds(), "records/cpu-s")
		})
	}
}

// spent is the processor time that this process has taken.
func spent(b *testing.B) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
