// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"finwait/output/jsonl"
	"finwait/tracer/event"
)

// TestClockNote: whatever the wall clock does, the trace says it, once it matters.
func TestClockNote(t *testing.T) {
	start := time.Date(2026, 3, 29, 1, 59, 0, 0, time.UTC)
	const began = int64(1e12)
	c := event.Clock{Offset: start.UnixNano() - began}
	for _, tc := range []struct {
		name    string
		passed  time.Duration // by CLOCK_MONOTONIC
		wall    time.Duration // by the wall clock
		says    string
		nothing bool
	}{
		{"nothing", time.Hour, time.Hour, "", true},
		{"NTP slews", time.Hour, time.Hour + 400*time.Millisecond, "", true},
		{"NTP steps back", time.Hour, time.Hour - 3*time.Second, "-3s", false},
		{"set by hand", time.Minute, 24 * time.Hour, "23h59m0s", false},
		{"suspended for a night", time.Hour, 9 * time.Hour, "8h0m0s", false},
		{"back to 1970", time.Minute, -50 * 365 * 24 * time.Hour, "-", false},
	} {
		got := clockNote(c, began+int64(tc.passed), start.Add(tc.wall))
		if (got == "") != tc.nothing || !strings.Contains(got, tc.says) {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

// TestClockStep: timestamps come from the kernel's clock alone. A wall clock that is set
// during a trace changes none of them, and their order is that of what happened.
func TestClockStep(t *testing.T) {
	c := event.Clock{Offset: time.Date(2026, 10, 25, 2, 59, 59, 0, time.UTC).UnixNano()}
	var b bytes.Buffer
	w := jsonl.New(&b, c)
	for i := range 5 {
		at := netip.AddrPortFrom(netip.IPv6Unspecified(), 1)
		row := event.Transition{KTime: int64(i+1) * 1e9, Socket: event.Socket{Cookie: 1, NetNS: 1, Family: 6, Local: at, Peer: at}, Old: event.Established, New: event.FinWait1, Duration: event.Unknown}
		if err := w.Transition(&row); err != nil {
			t.Fatal(err)
		}
	}
	r := jsonl.NewReader(&b)
	last := int64(0)
	for i := range 5 {
		rec, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if wall := rec.Wall(); wall <= last {
			t.Errorf("record %d is at %d, after %d", i, wall, last)
		} else {
			last = wall
		}
	}
}
