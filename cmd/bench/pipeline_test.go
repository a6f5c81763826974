// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkPipeline has one ring record per iteration.
func BenchmarkPipeline(b *testing.B) {
	p := newPipeline(io.Discard)
	if err := p.warm(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N/perConnection + 1 {
		if err := p.connection(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPipelineAllocatesNothing: from the ring to JSON, a connection that comes and goes
// leaves nothing for the garbage collector.
func TestPipelineAllocatesNothing(t *testing.T) {
	p := newPipeline(io.Discard)
	if err := p.warm(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(20_000, func() {
		if err := p.connection(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a connection, want 0", n)
	}
}

// TestPipelineRecords: what is measured is the work of a whole connection.
func TestPipelineRecords(t *testing.T) {
	var out bytes.Buffer
	p := newPipeline(&out)
	for range 3 {
		if err := p.connection(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flow.Flush(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		`"new_state":"TIME_WAIT"`: 3, `"end_reason":"expired"`: 3, `"peer_process":{"pid":`: 21, "\n": 21, `"incomplete"`: 0,
	} {
		if n := bytes.Count(out.Bytes(), []byte(text)); n != want {
			t.Errorf("%d times %q, want %d", n, text, want)
		}
	}
}
