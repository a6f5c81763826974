// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// connection is what the trace said of one socket.
type connection struct {
	rows []*event.Transition
}

type ends struct{ local, peer netip.AddrPort }

// connections sorts rows by socket, and sockets by 4-tuple and time.
func connections(rows []event.Transition) map[ends][]*connection {
	type key struct {
		cookie uint64
		ends
		since int64
	}
	sockets := map[key]*connection{}
	byEnds := map[ends][]*connection{}
	last := map[ends]*connection{}
	for i := range rows {
		row := &rows[i]
		if row.Old == event.SynSent {
			continue
		}
		e := ends{row.Local, row.Peer}
		k := key{cookie: row.Cookie, ends: e} // a socket can be connected twice
		if row.Cookie == 0 {                  // kernels before 5.12: a new connection begins with ESTABLISHED
			if c := last[e]; c != nil && row.Old != event.Established {
				c.rows = append(c.rows, row)
				continue
			}
			k.since = row.KTime
		}
		c := sockets[k]
		if c == nil {
			c = &connection{}
			sockets[k], last[e] = c, c
			byEnds[e] = append(byEnds[e], c)
		}
		c.rows = append(c.rows, row)
	}
	for _, list := range byEnds {
		sort.Slice(list, func(i, j int) bool { return list[i].rows[0].KTime < list[j].rows[0].KTime })
	}
	return byEnds
}

func (c *connection) String() string {
	var b strings.Builder
	for _, r := range c.rows {
		fmt.Fprintf(&b, "\n\t%d %v→%v %s[%d] %v closer=%v method=%v call=%v err=%d tw=%+v", r.KTime, r.Old, r.New, r.Process.Comm, r.Process.PID, r.Attribution, r.Closer, r.Method, r.Call, r.Errno, r.TimeWait)
	}
	return b.String()
}

// only leaves the rows and failures of these connections.
func (s *seen) only(ledger []workload.Close) {
	wanted := map[ends]bool{}
	for _, c := range ledger {
		for _, side := range []*workload.Side{c.Client, c.Server} {
			if side != nil {
				wanted[ends{side.Local, side.Peer}] = true
			}
		}
	}
	s.rows = slices.DeleteFunc(s.rows, func(t event.Transition) bool { return !wanted[ends{t.Local, t.Peer}] })
}

// compare holds a trace against the ledger: every connection, both ends, who closed it
// and how, the process on every row, and what became of TIME_WAIT.
func compare(t checker, ledger []workload.Close, r *seen) {
	t.Helper()
	found := connections(r.rows)
	sort.SliceStable(ledger, func(i, j int) bool { return ledger[i].Began.Before(ledger[j].Began) })
	errs := 0
	fail := func(format string, args ...any) {
		t.Helper()
		if errs++; errs <= 20 {
			t.Errorf(format, args...)
		}
	}
	var sides, named, rows int
	wantFailures := map[string]int{}
	for i := range ledger {
		c := &ledger[i]
		if c.ConnectError != "" {
			wantFailures[fmt.Sprintf("%s %d", c.ConnectError, c.Client.PID)]++
			continue
		}
		for _, side := range []*workload.Side{c.Client, c.Server} {
			if side == nil {
				continue
			}
			sides++
			e := ends{side.Local, side.Peer}
			if len(found[e]) == 0 {
				fail("%s: nothing seen of %v → %v (%+v)", c.Kind, e.local, e.peer, *side)
				continue
			}
			conn := found[e][0]
			found[e] = found[e][1:]
			for _, row := range conn.rows {
				rows++
				if row.Process.Known() {
					named++
				}
			}
			if problem := compareSide(side, conn); problem != "" {
				fail("%s: %s\n\tledger %+v%v", c.Kind, problem, *side, conn)
			}
		}
	}
	for e, rest := range found {
		for _, conn := range rest {
			fail("not in the ledger: %v → %v%v", e.local, e.peer, conn)
		}
	}
	gotFailures := map[string]int{}
	for i := range r.failures {
		f := &r.failures[i]
		gotFailures[fmt.Sprintf("%s %d", event.ErrnoName(f.Errno), f.Process.PID)]++
	}
	if fmt.Sprint(gotFailures) != fmt.Sprint(wantFailures) {
		fail("failed connects: got %v, want %v", gotFailures, wantFailures)
	}
	if errs > 20 {
		t.Errorf("... and %d more", errs-20)
	}
	t.Logf("%d connections, %d ends, %d rows; the process is known on %.2f %% of the rows", len(ledger), sides, rows, 100*float64(named)/float64(max(rows, 1)))
}

func compareSide(side *workload.Side, c *connection) string {
	last := c.rows[len(c.rows)-1]
	if got := last.Closer.String(); got != side.Closer {
		return fmt.Sprintf("closer %q, want %q", got, side.Closer)
	}
	if got := last.Method.String(); got != side.Method {
		return fmt.Sprintf("method %q, want %q", got, side.Method)
	}
	var timeWait bool
	var end string
	for _, row := range c.rows {
		switch pid := int(row.Process.PID); {
		case pid == 0:
			if row.Call != event.MethodUnknown && row.Call != event.MethodDataAfterClose {
				return fmt.Sprintf("nobody is named for %v → %v, which a call made", row.Old, row.New)
			}
		case pid != side.PID && pid != side.Opener:
			return fmt.Sprintf("%v → %v is put down to process %d", row.Old, row.New, pid)
		case pid == side.PID && row.Process.Comm.String() != side.Comm:
			return fmt.Sprintf("process %d is called %q", pid, row.Process.Comm)
		case row.Attribution == event.Exact && pid != side.PID:
			return fmt.Sprintf("%v → %v is put down exactly to process %d", row.Old, row.New, pid)
		}
		if row.New == event.TimeWait {
			timeWait = true
		}
		if row.TimeWait != nil {
			end = row.TimeWait.End.String()
		}
	}
	if timeWait != side.TimeWait {
		return fmt.Sprintf("TIME_WAIT seen: %v, want %v", timeWait, side.TimeWait)
	}
	if side.TimeWaitEnd == "" && end == event.EndExpired.String() {
		end = "" // it outlived the run, not the trace
	}
	if end != side.TimeWaitEnd {
		return fmt.Sprintf("TIME_WAIT ended as %q, want %q", end, side.TimeWaitEnd)
	}
	return ""
}

const bornAsCounted = "born (TW + TWKilled)"

// compareCounters holds the trace's totals against the kernel's own.
func compareCounters(t checker, kernel workload.Totals, r *seen) {
	t.Helper()
	var aborts = map[event.Method]uint64{}
	for i := range r.rows {
		if row := &r.rows[i]; row.New == event.Close {
			m := row.Call
			if row.Method == event.MethodTimeout {
				m = event.MethodTimeout
			}
			aborts[m]++
		}
	}
	for _, c := range []struct {
		what         string
		ours, kernel uint64
	}{
		{bornAsCounted, r.born, kernel.Births},
		{"reused (TWRecycled)", r.reused, kernel.Reuses},
		{"skipped (TCPTimeWaitOverflow)", r.refused, kernel.Overflows},
		{"unread data (TCPAbortOnClose)", aborts[event.MethodUnreadData], kernel.AbortOnClose},
		{"SO_LINGER 0 (TCPAbortOnData)", aborts[event.MethodLinger0], kernel.AbortOnData},
		{"timeouts (TCPAbortOnTimeout)", aborts[event.MethodTimeout], kernel.AbortOnTimeout},
	} {
		if r.countsAtExpiry && c.what == bornAsCounted {
			continue // TestFeatureFullMinute waits for them
		}
		if c.ours != c.kernel {
			t.Errorf("%s: %d, the kernel counted %d", c.what, c.ours, c.kernel)
		} else {
			t.Logf("%s: %d, as the kernel counted", c.what, c.ours)
		}
	}
}
