// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// thrift keeps a long trace small. Its tables allocate while they grow, and next to nothing
// after that: so garbage is collected at leisure while all of it is little memory, and early
// beyond. Go's memory limit would not do: close to what is live, it collects without end.
type thrift struct {
	off     bool // GOGC or GOMEMLIMIT is the user's own choice
	percent int
	next    int64 // ktime
	live    [1]metrics.Sample
}

// What is live of the heap, in bytes, from where on, and how much more than that may be used
// before garbage is collected, in percent.
var frugality = []struct {
	live    uint64
	percent int
}{{20 << 20, 10}, {12 << 20, 20}, {6 << 20, 50}, {0, 100}}

const thriftEvery = 100 * time.Millisecond

func newThrift() *thrift {
	t := &thrift{off: os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "", percent: 100}
	t.live[0].Name = "/gc/heap/live:bytes"
	return t
}

func (t *thrift) advance(ktime int64) {
	if t.off || ktime < t.next {
		return
	}
	t.next = ktime + int64(thriftEvery)
	metrics.Read(t.live[:])
	if t.live[0].Value.Kind() != metrics.KindUint64 {
		return
	}
	for _, f := range frugality {
		if t.live[0].Value.Uint64() >= f.live {
			if f.percent != t.percent {
				t.percent = f.percent
				debug.SetGCPercent(f.percent)
			}
			return
		}
	}
}
