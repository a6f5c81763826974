// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// window puts samples into the order of time. The ring keeps the order in which CPUs
// reserved their records, which differs from the order of the clock by microseconds;
// so a new sample belongs at the end, or a few places before it. What is listed comes by
// another way, all at once, and the ring may hold much that is older: it has a queue of
// its own.
type window struct {
	queue queue
	list  queue  // of what was listed
	clues []clue // sorted by ktime from first on; none there is older than what was popped last
	first int
	keys  [keyGroups]uint32 // how many of the clues have a key of the group
}

// keyGroups must be a power of two, and large against the clues of a busy moment.
const keyGroups = 4096

func group(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 52 % keyGroups }

// push takes a sample, the connection that it seems to be about, and the process that it
// names, if any.
func (w *window) push(s *event.Sample, c *conn, who name) {
	if s.Kind == event.KindMiniSeen || s.Kind == event.KindSockSeen {
		w.list.push(s, c, who)
		return
	}
	w.note(s)
	w.queue.push(s, c, who)
}

// len is how many samples wait.
func (w *window) len() int { return w.queue.n + w.list.n }

// each calls fn with every sample that waits.
func (w *window) each(fn func(*due)) {
	for _, q := range []*queue{&w.queue, &w.list} {
		for i := range q.n {
			fn(q.at(i))
		}
	}
}

// pop returns the oldest sample if it is not younger than ktime. It is valid until
// the next push.
func (w *window) pop(ktime int64) *due {
	if w.list.n > 0 && (w.queue.n == 0 || w.list.at(0).KTime <= w.queue.at(0).KTime) {
		s := w.list.pop(ktime)
		if w.list.n == 0 {
			w.list = queue{} // it will not be needed again soon
		}
		return s
	}
	s := w.queue.pop(ktime)
	if s == nil {
		return nil
	}
	for w.first < len(w.clues) && w.clues[w.first].ktime < s.KTime {
		w.keys[group(w.clues[w.first].key)]--
		w.first++
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
	if w.first*2 > len(w.clues) {
		n := copy(w.clues, w.clues[w.first:])
		w.clues, w.first = w.clues[:n], 0
	}
	w.keys[group(key(s))]++
	w.clues = append(w.clues, clue{s.KTime, key(s), s.Kind, s.Reason})
	for i := len(w.clues) - 1; i > w.first && w.clues[i-1].ktime > w.clues[i].ktime; i-- {
		w.clues[i-1], w.clues[i] = w.clues[i], w.clues[i-1]
	}
}

// evidence returns the first clue about a mini-socket that has just been popped as
// dead; its kind is KindUnknown if there is none.
func (w *window) evidence(dead *event.Sample) clue {
	if w.keys[group(key(dead))] == 0 {
		return clue{}
	}
	until := dead.KTime + int64(evidence)
	for _, c := range w.clues[w.first:] {
		if c.ktime > until {
			break
		}
		if c.key == key(dead) {
			return c
		}
	}
	return clue{}
}
