// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// window puts samples into the order of time. The ring keeps the order in which CPUs
// reserved their records, which differs from the order of the clock by microseconds;
// so a new sample belongs at the end, or a few places before it.
type window struct {
	queue []event.Sample // sorted by KTime from head on
	head  int
	clues []clue // sorted by ktime; none older than what was popped last
}

func (w *window) push(s *event.Sample) {
	if w.head > 0 && w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
	if w.head > 4096 && w.head*2 > len(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.note(s)
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
	for len(w.clues) > 0 && w.clues[0].ktime < s.KTime {
		w.clues = w.clues[1:]
	}
	return s
}

// clue is what may explain, or revoke, the end of a mini-socket just before it: a
// KindWhy, or a timer set anew.
type clue struct {
	ktime  int64
	key    uint64
	kind   event.Kind
	reason event.Reason
}

func (w *window) note(s *event.Sample) {
	if s.Kind != event.KindWhy && (s.Kind != event.KindArmed || s.Has(event.FlagRequeued)) {
		return
	}
	w.clues = append(w.clues, clue{s.KTime, key(s), s.Kind, s.Reason})
	for i := len(w.clues) - 1; i > 0 && w.clues[i-1].ktime > w.clues[i].ktime; i-- {
		w.clues[i-1], w.clues[i] = w.clues[i], w.clues[i-1]
	}
}

// evidence returns the first clue about a mini-socket that has just been popped as
// dead; its kind is KindUnknown if there is none.
func (w *window) evidence(dead *event.Sample) clue {
	until := dead.KTime + int64(evidence)
	for _, c := range w.clues {
		if c.ktime > until {
			break
		}
		if c.key == key(dead) {
			return c
		}
	}
	return clue{}
}
