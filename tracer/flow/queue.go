// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// due is a sample that waits, the connection that it seemed to be about when it came, and
// the process that it names.
type due struct {
	event.Sample
	conn  handle
	who   name
	lives uint16 // of conn, then
}

// queue keeps samples in the order of time, in memory that is used again and again.
type queue struct {
	ring []due // a power of two of them
	head int   // the oldest
	n    int
}

const (
	// leastQueue is how many samples a queue has room for at least.
	leastQueue = 64
	// maxIdle is how much room a burst may leave behind, in samples: some 2 MB.
	maxIdle = 8192
)

// at returns the i-th oldest.
func (q *queue) at(i int) *due { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *queue) push(s *event.Sample, c *conn, who name) {
	if q.n == len(q.ring) {
		q.grow()
	}
	last := q.at(q.n)
	last.Sample, last.conn, last.who, last.lives = *s, 0, who, 0
	if c != nil {
		last.conn, last.lives = c.self, c.lives
	}
	q.n++
	for i := q.n - 1; i > 0 && q.at(i-1).KTime > q.at(i).KTime; i-- {
		a, b := q.at(i-1), q.at(i)
		*a, *b = *b, *a
	}
}

func (q *queue) grow() {
	ring := make([]due, max(leastQueue, 2*len(q.ring)))
	n := copy(ring, q.ring[q.head:])
	copy(ring[n:], q.ring[:q.head])
	q.ring, q.head = ring, 0
}

// pop returns the oldest if it is not younger than ktime, until the next push.
func (q *queue) pop(ktime int64) *due {
	if q.n == 0 {
		return nil
	}
	d := q.at(0)
	if d.KTime > ktime {
		return nil
	}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	if q.n--; q.n == 0 && len(q.ring) > maxIdle {
		q.ring, q.head = nil, 0 // d keeps its memory
	}
	return d
}
