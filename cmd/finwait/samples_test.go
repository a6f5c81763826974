// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"finwait/output/jsonl"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
	"finwait/tracer/workload"
)

var (
	update = flag.Bool("update", false, "write goldens anew")
	record = flag.Bool("record-samples", false, "record raw samples of every kind of close on this kernel into testdata/samples")
)

const samplesDir = "../../testdata/samples"

// A sample file is a line of text about its origin, then raw ring records, each behind
// its length, 16 bits little-endian.

// recordSamples makes the sample files; see CONTRIBUTING.md.
func recordSamples(t *testing.T) {
	for _, probe := range probes(t) {
		var buf bytes.Buffer
		lab, ctx := newLab(t, workload.Options{FinTimeout: 2 * time.Second})
		var uts unix.Utsname
		if err := unix.Uname(&uts); err != nil {
			t.Fatal(err)
		}
		kernel, _, _ := strings.Cut(unix.ByteSliceToString(uts.Release[:]), "-")
		tick, err := tracer.Tick()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&buf, "finwait samples: Linux %s, probe %s, tick %d\n", kernel, probe, tick)
		r := traceLab(t, ctx, lab, tracer.Options{Probe: probe, Tap: func(raw []byte) {
			buf.Write(binary.LittleEndian.AppendUint16(nil, uint16(len(raw))))
			buf.Write(raw)
		}})
		for _, kind := range workload.Kinds() {
			if _, err := lab.Run(ctx, kind); err != nil {
				t.Fatal(err)
			}
		}
		r.settled(nil)
		r.finish()
		major := strings.Join(strings.SplitN(kernel, ".", 3)[:2], ".")
		path := filepath.Join(samplesDir, fmt.Sprintf("linux-%s-%s.bin", major, probe))
		if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// lines is a flow.Handler that writes JSON Lines.
type lines struct{ *jsonl.Writer }

// TestSamples replays what real kernels reported, without a kernel: decoder and flow
// must say what they said before.
func TestSamples(t *testing.T) {
	if *record {
		recordSamples(t)
	}
	files, err := filepath.Glob(filepath.Join(samplesDir, "*.bin"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sample files: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := bytes.Cut(raw, []byte("\n"))
			var kernel, probe string
			var tick int64
			if _, err := fmt.Sscanf(string(head), "finwait samples: Linux %s probe %s tick %d", &kernel, &probe, &tick); err != nil {
				t.Fatalf("heading %q: %v", head, err)
			}
			var out bytes.Buffer
			f := flow.New(lines{jsonl.New(&out, event.Clock{})}, flow.Options{Tick: time.Duration(tick), SegmentsSeen: true})
			var s event.Sample
			for len(body) > 0 {
				n := int(binary.LittleEndian.Uint16(body))
				if err := tracer.Decode(body[2:2+n], &s); err != nil {
					t.Fatal(err)
				}
				body = body[2+n:]
				if err := f.Sample(&s); err != nil {
					t.Fatal(err)
				}
				if err := f.Advance(s.KTime); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
			if stats := f.Stats(); stats.Unmatched+stats.Duplicates+stats.Evicted != 0 {
				t.Errorf("%+v", stats)
			}
			golden := strings.TrimSuffix(file, ".bin") + ".jsonl"
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
				t.Errorf("records differ (-golden +now):\n%s", diff)
			}
		})
	}
}
