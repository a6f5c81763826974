// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"time"

	"finwait/tracer/event"
	portrange "finwait/tracer/ports"
)

// portsKey is what one range of ephemeral ports is spent on: connect() needs a local
// port that is free towards this very peer address and port. LocalPort is 0.
type portsKey struct {
	tuple event.Tuple
	netns uint32
}

// ports is the budget of one portsKey.
type ports struct {
	portsKey
	now, peak int64 // closing or in TIME_WAIT
	peakAt    int64 // ktime
	taken     uint64
	births    uint64
	reused    uint64 // by connect(), within TIME_WAIT
	failed    uint64 // connects, EADDRNOTAVAIL
	failedAt  [2]int64
	program   uint32 // the one that took a port last
	failer    uint32
	pid       uint32

	// From the first few connections on: what is used once may be one of a million.
	held  *track // closing or in TIME_WAIT
	open  *track // established; known only when they close
	takes *track
}

// tracked is how many connections a budget has before it gets timelines.
const tracked = 8

// hold: a connection begins to close.
func (p *ports) hold(g *grid, c *conn, ktime int64) {
	p.now++
	p.taken++
	p.program, p.pid = c.program, c.pid
	if p.now > p.peak {
		p.peak, p.peakAt = p.now, ktime
	}
	slot := g.slot(ktime)
	if p.held == nil {
		if p.taken < tracked {
			return
		}
		p.held, p.open, p.takes = g.track(), g.track(), g.track()
		p.held[slot] = int32(p.now) - 1
		p.takes[slot] = int32(p.taken) - 1
	}
	p.held[slot]++
	p.takes[slot]++
	if c.opened != 0 {
		p.open[g.slot(c.opened)]++
		p.open[slot]--
	}
}

// existed: a TIME_WAIT that was there before the trace has ended.
func (p *ports) existed(g *grid, ktime int64) {
	if p.held != nil {
		p.held[0]++
		p.held[g.slot(ktime)]--
	}
}

// release: the port is free again.
func (p *ports) release(g *grid, ktime int64) {
	p.now--
	if p.held != nil {
		p.held[g.slot(ktime)]--
	}
}

// busiest is the most ports that were taken at a time, those of established
// connections included, as far as they are known.
func (p *ports) busiest(g *grid, until int64) (n, at int64) {
	n, at = p.peak, p.peakAt
	if p.held == nil {
		return n, at
	}
	held, open := g.sums(p.held, 0, until), g.sums(p.open, 0, until)
	for i := range held {
		if sum := held[i] + open[i]; sum > n {
			n, at = sum, g.base+int64(i)*g.width
		}
	}
	return n, at
}

// outlook says where the use of ports is heading.
type outlook struct {
	rate float64 // connections a second, of late
	portrange.Outlook
	reuse bool // it does not fail because it takes ports over from TIME_WAIT
}

// outlook projects: each connection that goes through TIME_WAIT takes its port for
// another minute, or until connect() takes it over, which it may after reuse.
func (p *ports) outlook(g *grid, from, until int64, capacity int64, hold, reuse time.Duration) outlook {
	o := outlook{Outlook: portrange.Outlook{In: event.Unknown}}
	length := until - max(from, until-int64(recent))
	taken := int64(p.taken)
	if p.takes != nil {
		taken, length = g.window(p.takes, until-int64(recent), until)
		length = min(length, until-from)
	}
	if length < int64(time.Second) { // less is no rate
		length = int64(time.Second)
	}
	o.rate = float64(taken) / (float64(length) / 1e9)
	if p.reused > 0 && p.failed == 0 && o.rate*reuse.Seconds() < float64(capacity) {
		// It finds one as long as not all of them were taken within that time.
		o.Level, o.reuse = min(o.rate*hold.Seconds(), float64(capacity)), true
		return o
	}
	// Ports that were reused within TIME_WAIT were not taken from the rest.
	share := 1.0
	if p.taken > 0 {
		share = float64(min(p.births, p.taken)-min(p.reused, p.births)) / float64(p.taken)
	}
	use := portrange.Use{Capacity: capacity, Now: p.now, Spend: o.rate * share, Hold: hold}
	o.Outlook = use.Outlook()
	// Connections that stay open hold the rest: what has failed already is not about to.
	if o.In > 0 && p.failed > 0 && float64(p.now) >= portsFull*float64(capacity) {
		o.In = 0
	}
	return o
}

// budgets is a bounded table: when it is full, the half with the lowest peaks goes.
type budgets struct {
	max     int
	index   map[portsKey]*ports
	evicted uint64
}

func (bs *budgets) get(g *grid, k portsKey) *ports {
	if p := bs.index[k]; p != nil {
		return p
	}
	if len(bs.index) >= bs.max {
		all := bs.sorted()
		for _, p := range all[len(all)/2:] {
			for _, t := range []*track{p.held, p.open, p.takes} {
				g.drop(t)
			}
			delete(bs.index, p.portsKey)
			bs.evicted++
		}
	}
	p := &ports{portsKey: k}
	bs.index[k] = p
	return p
}

// sorted returns the budgets, those that failed first, then those with the highest peaks.
func (bs *budgets) sorted() []*ports {
	all := make([]*ports, 0, len(bs.index))
	for _, p := range bs.index {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *ports) int {
		return cmp.Or(cmp.Compare(b.failed, a.failed), cmp.Compare(b.peak, a.peak), cmp.Compare(b.taken, a.taken),
			compareTuples(&a.tuple, &b.tuple), cmp.Compare(a.netns, b.netns))
	})
	return all
}
