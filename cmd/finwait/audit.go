// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
)

// audit counts what the kernel counts too, for each network namespace between two
// readings of the kernel's counters. It is a flow.Counter.
type audit struct {
	begin, end map[uint32]tracer.Reading
	filtered   bool // the kernel side leaves out more than other namespaces
	ours       map[uint32]*[event.CounterEnd]event.Counted
}

// readingError is how far the moment at which the kernel counts can be from the one at
// which the trace sees the same thing.
const readingError = int64(2 * time.Millisecond)

func newAudit(readings []tracer.Reading, f tracer.Filter) *audit {
	f.NetNS = 0
	return &audit{begin: byNamespace(readings), filtered: f != tracer.Filter{}, ours: map[uint32]*[event.CounterEnd]event.Counted{}}
}

func byNamespace(readings []tracer.Reading) map[uint32]tracer.Reading {
	m := make(map[uint32]tracer.Reading, len(readings))
	for _, r := range readings {
		m[r.NetNS] = r
	}
	return m
}

// Count takes one. Within a reading's own time, it is not sure on which side it falls.
func (a *audit) Count(netns uint32, ktime int64, c event.Counter, sure bool) {
	began, known := a.begin[netns]
	if !known || ktime < began.Before-readingError {
		return
	}
	sure = sure && ktime > began.After+readingError
	if ended, over := a.end[netns]; over {
		if ktime > ended.After+readingError {
			return
		}
		sure = sure && ktime < ended.Before-readingError
	}
	n := a.ours[netns]
	if n == nil {
		n = &[event.CounterEnd]event.Counted{}
		a.ours[netns] = n
	}
	if sure {
		n[c].Ours++
	} else {
		n[c].Unsure++
	}
}

// result holds both counts against each other. Namespaces that came or went during the
// trace cannot be compared and are left out.
func (a *audit) result(order []tracer.Reading) []event.KernelCounters {
	list := []event.KernelCounters{}
	for _, began := range order {
		ended, ok := a.end[began.NetNS]
		if !ok {
			continue
		}
		k := event.NewKernelCounters(began.NetNS)
		k.Filtered = a.filtered
		for c := range k.Counters {
			n := &k.Counters[c]
			if began.Counters[c] == event.Unknown || ended.Counters[c] < began.Counters[c] {
				ok = ok && ended.Counters[c] >= began.Counters[c] // another namespace with the same number
				continue
			}
			n.Kernel = ended.Counters[c] - began.Counters[c]
			switch event.Counter(c) {
			case event.CounterTWKilled, event.CounterAbortOnMemory, event.CounterAbortFailed:
				continue // the first is in TW; the others leave no trace
			}
			if a.filtered {
				continue
			}
			n.Ours = 0
			if ours := a.ours[began.NetNS]; ours != nil {
				n.Ours, n.Unsure = ours[c].Ours, ours[c].Unsure
			}
		}
		if ok {
			list = append(list, k)
		}
	}
	return list
}

// differences says where the kernel has counted otherwise; empty where it agrees.
func differences(list []event.KernelCounters) string {
	var b strings.Builder
	for i := range list {
		k := &list[i]
		for c := range event.CounterEnd {
			if !k.Differs(c) {
				continue
			}
			n := k.Counters[c]
			name := c.String()
			if c == event.CounterTW {
				name = "TW + TWKilled"
				n.Kernel += max(k.Counters[event.CounterTWKilled].Kernel, 0)
			}
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %d here, %d by the kernel (namespace %d)", name, n.Ours, n.Kernel, k.NetNS)
		}
	}
	return b.String()
}
