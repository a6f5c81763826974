// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"finwait/tracer/event"
)

// TestBothEnds: a connection with both ends on this host is one connection, two ends.
func TestBothEnds(t *testing.T) {
	r := shortServer(true).report(t)
	if r.Totals.Connections != 60 || r.Totals.Ends != 120 || len(r.Closers) != 2 {
		t.Errorf("%d connections, %d ends, %d rows; want 60, 120, 2", r.Totals.Connections, r.Totals.Ends, len(r.Closers))
	}
	for _, c := range r.Closers {
		if c.Closes != 60 || c.SameHost != 60 {
			t.Errorf("%+v: want 60 closes, all with the other end here", c)
		}
	}
	if r := shortServer(false).report(t); r.Totals.Connections != 60 || r.Totals.Ends != 60 {
		t.Errorf("%d connections, %d ends; want 60 of each", r.Totals.Connections, r.Totals.Ends)
	}
}

// TestContinue: what began in one recording ends in the next of the same boot.
func TestContinue(t *testing.T) {
	whole := serverFirst()
	one, two := newWorld(50*time.Second), newWorld(70*time.Second)
	cut := boot + int64(50*time.Second)
	for _, m := range whole.at {
		if m.ktime <= cut {
			one.at = append(one.at, m)
		} else {
			two.at = append(two.at, m)
		}
	}
	two.start.KTime = cut + int64(time.Millisecond)
	c := New(Options{})
	one.play(c.Trace("one"))
	tr := c.Trace("two")
	tr.Start(&two.start)
	slices.SortStableFunc(two.at, func(a, b moment) int { return cmp.Compare(a.ktime, b.ktime) })
	for _, m := range two.at {
		m.feed(tr)
	}
	tr.End(&event.End{KTime: boot + int64(whole.length), Elapsed: 70 * time.Second})
	got, want := c.Report(), whole.report(t)
	if !got.Trace.Complete || got.Totals != want.Totals {
		t.Errorf("complete %v, totals %+v; want %+v", got.Trace.Complete, got.Totals, want.Totals)
	}
	if g, w := got.TimeWait[0], want.TimeWait[0]; g.Peak != w.Peak || g.Live != w.Live || *g.Length != *w.Length || !slices.Equal(g.Timeline.Values, w.Timeline.Values) {
		t.Errorf("TIME_WAIT %+v, want %+v", g, w)
	}
}

// TestOverlap: two recordings of the same time are not mistaken for one.
func TestOverlap(t *testing.T) {
	c := New(Options{})
	serverFirst().play(c.Trace("one"))
	serverFirst().play(c.Trace("two"))
	r := c.Report()
	if r.Trace.Complete || !strings.Contains(strings.Join(r.Trace.Files[1].Missing, " "), "overlaps") {
		t.Errorf("the overlap is not told: %+v", r.Trace)
	}
}

// TestKernelCounters: a trace that the kernel's counters contradict is not complete.
func TestKernelCounters(t *testing.T) {
	for _, test := range []struct {
		kernel, ours, unsure int64
		filtered, complete   bool
	}{
		{kernel: 100, ours: 100, complete: true},
		{kernel: 101, ours: 100},
		{kernel: 101, ours: 100, unsure: 1, complete: true},
		{kernel: 101, ours: 100, filtered: true, complete: true},
	} {
		c := New(Options{})
		tr := c.Trace("one")
		w := newWorld(time.Minute)
		tr.Start(&w.start)
		k := event.NewKernelCounters(netns)
		k.Filtered = test.filtered
		k.Counters[event.CounterTWKilled].Kernel = 1
		k.Counters[event.CounterTW] = event.Counted{Kernel: test.kernel - 1, Ours: test.ours, Unsure: test.unsure}
		tr.End(&event.End{KTime: boot + 1, Elapsed: 1, Kernel: []event.KernelCounters{k}})
		r := c.Report()
		if f := r.Trace.Files[0]; r.Trace.Complete != test.complete || (len(f.Checks) == 1) == test.filtered || !test.filtered && f.Checks[0].Kernel != test.kernel {
			t.Errorf("%+v: complete %v, checks %+v", test, r.Trace.Complete, f.Checks)
		}
	}
}

// TestOutlook: used now, and where it is heading, against what the arithmetic says.
func TestOutlook(t *testing.T) {
	w := newWorld(20 * time.Second)
	w.many(600*20, 0, time.Second/600, connection{
		process: api, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserLocal, method: event.MethodClose,
	})
	r := w.report(t)
	p := r.Ports[0]
	// 12,000 of 28,232 ports in 20 s, 600 a second: 27 s more.
	if p.Now != 12_000 || p.Capacity != 28_232 || p.FailsIn == nil || *p.FailsIn < 26*time.Second || *p.FailsIn > 28*time.Second {
		t.Errorf("ports: %+v", p)
	}
	if f := r.Findings[0]; f.ID != "ports-nearly-exhausted" || f.Severity != Critical || !strings.Contains(f.Title, "runs out of local ports to 10.0.3.7:8080 in 2") {
		t.Errorf("first finding: %+v", f)
	}

	// At a rate that a minute of TIME_WAIT can bear, nothing fails, however long.
	r = smallPool(20).report(t)
	if p := r.Ports[0]; p.FailsIn != nil || p.Level < 1190 || p.Level > 1230 || p.Peak < 1190 || p.Peak > 1230 {
		t.Errorf("ports: %+v", p)
	}

	// Connections that were open count while they were, once they have closed.
	w = newWorld(2 * time.Minute)
	w.many(50, 100*time.Second, 0, connection{
		process: api, role: event.Client, local: "10.0.0.4", peer: "10.0.3.7:8080", closer: event.CloserPeer, method: event.MethodFin, lived: 80 * time.Second,
	})
	if p := w.report(t).Ports[0]; p.Now != 0 || p.Peak != 50 || p.Timeline.Values[len(p.Timeline.Values)/2] < 40 {
		t.Errorf("ports: now %d, peak %d, %v; want those open counted", p.Now, p.Peak, p.Timeline.Values)
	}
}

// TestTimeline: however often the grid has grown, sums are those of the events.
func TestTimeline(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	g := newGrid(0)
	x := g.track()
	type add struct{ at, n int64 }
	var all []add
	now := int64(0)
	for range 20_000 {
		now += rng.Int64N(int64(time.Second))
		n := rng.Int64N(2)
		x[g.slot(now)] += int32(n)
		all = append(all, add{now, n})
	}
	sums := g.sums(x, 7, now)
	for i, got := range sums {
		want, end := int64(7), int64(i+1)*g.width
		for _, a := range all {
			if a.at < end {
				want += a.n
			}
		}
		if got != want {
			t.Fatalf("at step %d of %v the sum is %d, want %d", i, asDuration(g.width), got, want)
		}
	}
	if len(sums) < points/2 {
		t.Errorf("%d points are left of %d", len(sums), points)
	}
}

func TestIdleCluster(t *testing.T) {
	for _, test := range []struct {
		name   string
		times  []time.Duration
		want   time.Duration
		within time.Duration
		ok     bool
	}{
		{"one timeout", repeat(60*time.Second, 40, 200*time.Millisecond), 60 * time.Second, 200 * time.Millisecond, true},
		{"a timeout and noise", append(repeat(15*time.Second, 40, 100*time.Millisecond), spread(20)...), 15 * time.Second, time.Second, true},
		{"noise", spread(200), 0, 0, false},
		{"too few", repeat(60*time.Second, 5, 0), 0, 0, false},
	} {
		var x idles
		for _, d := range test.times {
			x.add(d)
		}
		got, _, ok := x.cluster()
		if ok != test.ok || (got-test.want).Abs() > test.within {
			t.Errorf("%s: %v %v, want %v %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

func repeat(d time.Duration, n int, jitter time.Duration) (out []time.Duration) {
	for i := range n {
		out = append(out, d+jitter*time.Duration(i%3-1))
	}
	return out
}

func spread(n int) (out []time.Duration) {
	for i := range n {
		out = append(out, time.Second+time.Duration(i)*time.Second*59/time.Duration(n))
	}
	return out
}

// TestQuote: a file name is one word of the command line, whatever is in it.
func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"incident.jsonl.zst": "incident.jsonl.zst", "two words": "'two words'", "it's": `'it'\''s'`, "$(reboot)": "'$(reboot)'", "": "''", "-": "-",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}
