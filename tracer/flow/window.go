// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// window puts samples into the order of time. The ring keeps the order in which CPUs
// reserved their records, which differs from the order of the clock by microseconds;
// so a new sample belongs at the end, or a few places before it.
type window struct {
	queue []event.Sample // sorted by KTime from head on
	head  int
}

func (w *window) push(s *event.Sample) {
	if w.head > 0 && w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
	if w.head > 4096 && w.head*2 > len(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.queue = append(w.queue, *s)
	for i := len(w.queue) - 1; i > w.head && w.queue[i-1].KTime > w.queue[i].KTime; i-- {
		w.queue[i-1], w.queue[i] = w.queue[i], w.queue[i-1]
	}
}

// pop returns the oldest sample if it is not younger than ktime. It is valid until
// the next push.
func (w *window) pop(ktime int64) *event.Sample {
	if w.head == len(w.queue) || w.queue[w.head].KTime > ktime {
		return nil
	}
	s := &w.queue[w.head]
	w.head++
	return s
}
