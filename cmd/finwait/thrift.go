// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// thrift keeps a long trace small. Its tables allocate while they grow, and next to nothing
// after that: so garbage is collected at leisure as long as all of it is little memory, and
// early beyond.
type thrift struct {
	off   bool // GOMEMLIMIT is the user's own choice
	limit int64
	next  int64 // ktime
	live  [1]metrics.Sample
}

const (
	// littleMemory is room for the connections of a busy host, 100,000 in TIME_WAIT.
	littleMemory = 28 << 20
	// besidesHeap is what the Go runtime needs beside what is live.
	besidesHeap = 3 << 20
	thriftEvery = 100 * time.Millisecond
)

func newThrift() *thrift {
	t := &thrift{off: os.Getenv("GOMEMLIMIT") != "", limit: littleMemory}
	t.live[0].Name = "/gc/heap/live:bytes"
	if !t.off {
		debug.SetMemoryLimit(t.limit)
	}
	return t
}

// advance moves the limit with what is live: a limit below it would collect without end.
func (t *thrift) advance(ktime int64) {
	if t.off || ktime < t.next {
		return
	}
	t.next = ktime + int64(thriftEvery)
	metrics.Read(t.live[:])
	if t.live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	live := int64(t.live[0].Value.Uint64())
	want := max(littleMemory, live+live/8+besidesHeap)
	if want > t.limit || want < t.limit*3/4 {
		t.limit = want
		debug.SetMemoryLimit(want)
	}
}
