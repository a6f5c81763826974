// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// window puts samples into the order of time. The ring keeps the order in which CPUs
// reserved their records, which differs from the order of the clock by microseconds;
// so a new sample belongs at the end, or a few places before it. What is listed comes by
// another way, all at once, and the ring may hold much that is older: it has a queue of
// its own.
type window struct {
	queue []due // sorted by KTime from head on
	head  int
	list  []due // of what was listed: sorted by KTime from next on
	next  int
	clues []clue // sorted by ktime from first on; none there is older than what was popped last
	first int
	keys  [keyGroups]uint32 // how many of the clues have a key of the group
}

// due is a sample that waits, and the connection that it seemed to be about when it came.
type due struct {
	event.Sample
	conn  *conn
	lives uint16 // of conn, then
}

// keyGroups must be a power of two, and large against the clues of a busy moment.
const keyGroups = 4096

func group(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 52 % keyGroups }

// maxIdle is how much room a burst may leave behind, in samples: some 3 MB.
const maxIdle = 8192

func (w *window) push(s *event.Sample, c *conn) {
	if s.Kind == event.KindMiniSeen || s.Kind == event.KindSockSeen {
		w.pushListed(s, c)
		return
	}
	if w.head > 0 && w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
		if cap(w.queue) > maxIdle {
			w.queue = nil
		}
	}
	if w.head > 4096 && w.head*2 > len(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		w.queue, w.head = w.queue[:n], 0
	}
	w.note(s)
	w.queue = append(w.queue, due{Sample: *s, conn: c})
	if c != nil {
		w.queue[len(w.queue)-1].lives = c.lives
	}
	for i := len(w.queue) - 1; i > w.head && w.queue[i-1].KTime > w.queue[i].KTime; i-- {
		w.queue[i-1], w.queue[i] = w.queue[i], w.queue[i-1]
	}
}

func (w *window) pushListed(s *event.Sample, c *conn) {
	w.list = append(w.list, due{Sample: *s, conn: c})
	if c != nil {
		w.list[len(w.list)-1].lives = c.lives
	}
	for i := len(w.list) - 1; i > w.next && w.list[i-1].KTime > w.list[i].KTime; i-- {
		w.list[i-1], w.list[i] = w.list[i], w.list[i-1]
	}
}

// pop returns the oldest sample if it is not younger than ktime. It is valid until
// the next push.
func (w *window) pop(ktime int64) *due {
	listed := w.next < len(w.list) && (w.head == len(w.queue) || w.list[w.next].KTime <= w.queue[w.head].KTime)
	if listed {
		return w.popListed(ktime)
	}
	if w.head == len(w.queue) || w.queue[w.head].KTime > ktime {
		return nil
	}
	s := &w.queue[w.head]
	w.head++
	for w.first < len(w.clues) && w.clues[w.first].ktime < s.KTime {
		w.keys[group(w.clues[w.first].key)]--
		w.first++
	}
	return s
}

func (w *window) popListed(ktime int64) *due {
	s := &w.list[w.next]
	if s.KTime > ktime {
		return nil
	}
	if w.next++; w.next == len(w.list) {
		w.list, w.next = nil, 0 // it will not be needed again soon
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
