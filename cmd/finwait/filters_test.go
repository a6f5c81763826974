// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/workload"
)

// row is what is compared of a record: everything but the moments, of which every trace
// has its own.
func (r *line) row() string {
	pid := func(p *processRecord) string {
		if p == nil {
			return "-"
		}
		return fmt.Sprintf("%d %s", p.PID, p.Comm)
	}
	return fmt.Sprintf("%s %s: %v → %v: %s → %s, %s (%s), peer %s, closed by %s, %s; call %q, %s", r.Type, r.Socket.Cookie,
		r.addresses().local, r.addresses().peer, r.OldState, r.NewState, pid(r.Process), r.Attribution, pid(r.PeerProcess),
		r.Closer, r.Method, r.Call, r.NetworkType)
}

// rowsOf returns the rows that a choice leaves, sorted.
func rowsOf(all []line, chosen func(*line) bool) []string {
	rows := []string{}
	for i := range all {
		if k := all[i].Type; (k == "transition" || k == "release" || k == "connect_error") && chosen(&all[i]) {
			rows = append(rows, all[i].row())
		}
	}
	sort.Strings(rows)
	return rows
}

// TestProgramFilters runs many traces of the same workload at once: each filter shows
// exactly the rows that choosing by hand from the unfiltered trace gives.
func TestProgramFilters(t *testing.T) {
	s := newStage(t)
	pids := s.lab.PIDs()
	client := pids[0]
	within := func(cidr string, a netip.Addr) bool { return netip.MustParsePrefix(cidr).Contains(a.Unmap()) }
	byPID := func(r *line) bool { return r.Process != nil && r.Process.PID == client }
	all := func(*line) bool { return true }
	cases := []struct {
		args   []string
		chosen func(*line) bool
		every  bool // nothing is left out
		none   bool
		six    bool // the kernel must have IPv6
	}{
		{args: nil, chosen: all, every: true},
		{args: []string{"-L", "8080"}, chosen: func(r *line) bool { return r.Local.Port == 8080 }},
		{args: []string{"-D", "8080"}, chosen: func(r *line) bool { return r.Peer.Port == 8080 }},
		{args: []string{"-D", "9000-20000"}, chosen: func(r *line) bool { return r.Peer.Port >= 9000 && r.Peer.Port <= 20000 }},
		{args: []string{"--local", "127.0.1.0/24"}, chosen: func(r *line) bool { return within("127.0.1.0/24", r.Local.Address) }},
		{args: []string{"--peer", "127.0.1.0/30"}, chosen: func(r *line) bool { return within("127.0.1.0/30", r.Peer.Address) }},
		{args: []string{"--peer", "::1", "-D", "8080"}, chosen: func(r *line) bool { return within("::1/128", r.Peer.Address) && r.Peer.Port == 8080 }, six: true},
		{args: []string{"-4"}, chosen: func(r *line) bool { return r.NetworkType == "ipv4" }, six: true},
		{args: []string{"-6"}, chosen: func(r *line) bool { return r.NetworkType == "ipv6" }, six: true},
		{args: []string{"-p", fmt.Sprint(client)}, chosen: byPID},
		{args: []string{"--comm", "demo-server"}, chosen: func(r *line) bool { return r.Process != nil && r.Process.Comm == "demo-server" }},
		{args: []string{"--closer", "peer"}, chosen: func(r *line) bool { return r.Closer == "peer" }},
		{args: []string{"--closer", "kernel"}, chosen: func(r *line) bool { return r.Closer == "kernel" }},
		{args: []string{"--method", "linger0"}, chosen: func(r *line) bool { return r.Method == "linger0" }},
		{args: []string{"--method", "rst", "-L", "8080"}, chosen: func(r *line) bool { return r.Method == "rst" && r.Local.Port == 8080 }},
		{args: []string{"--netns", fmt.Sprint(client)}, chosen: all, every: true},
		{args: []string{"--netns", fmt.Sprintf("/proc/%d/ns/net", client)}, chosen: all, every: true},
		{args: []string{"--netns", "/proc/self/ns/net"}, chosen: func(*line) bool { return false }, none: true},
	}
	programs := make([]*program, len(cases))
	for i, c := range cases {
		args := append([]string{"-o", "json"}, c.args...)
		if !slices.Contains(args, "--netns") {
			args = append(args, "--netns", inode(s.lab))
		}
		programs[i] = newProgram(t, args...).live().start()
	}
	var closes []workload.Close
	var lacks error
	for _, k := range []workload.Kind{
		workload.ClientFirst, workload.ServerFirst, workload.HalfClose, workload.Linger0, workload.Linger0Server,
		workload.UnreadData, workload.ForkChild, workload.Thread, workload.Sigkill, workload.Abort, workload.PeerRST,
		workload.TWReused, workload.NoPort, workload.Refused, workload.IPv6, workload.V4Mapped,
	} {
		ledger, err := s.lab.Run(s.ctx, k)
		if errors.Is(err, errors.ErrUnsupported) {
			if k == workload.IPv6 {
				lacks = err
			}
			t.Logf("kernel lacks: %v", err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		closes = append(closes, ledger.Closes...)
	}
	var full []line
	for i, c := range cases {
		p := programs[i].signal(os.Interrupt).exits(exitDone)
		p.hasTotals(false)
		rows, end := p.whole()
		if i == 0 {
			full = rows
		}
		t.Run(fmt.Sprint(c.args), func(t *testing.T) {
			want, got := rowsOf(full, c.chosen), rowsOf(rows, all)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-by hand +by finwait:\n%s", diff)
			}
			// The totals are those of what was asked for, not of the other ends that come along.
			if !slices.Contains(c.args, "--closer") && !slices.Contains(c.args, "--method") {
				if n := uint64(len(of("transition", rows))); end.Totals["transitions"] != n {
					t.Errorf("%d transitions, and trace_end says %d", n, end.Totals["transitions"])
				}
				if n := uint64(len(of("connect_error", rows))); end.Totals["connect_errors"] != n {
					t.Errorf("%d connect errors, and trace_end says %d", n, end.Totals["connect_errors"])
				}
			}
			if c.six && lacks != nil {
				t.Skipf("kernel lacks: %v", lacks)
			}
			if len(want) == 0 != c.none || len(want) == len(rowsOf(full, all)) != c.every {
				t.Errorf("%d of %d rows are chosen: the test shows nothing", len(want), len(full))
			}
		})
	}
	// The full trace itself, and that a filter on one end leaves the other one named.
	sides := sidesOf(closes)
	for e, side := range sides {
		if side == nil {
			continue
		}
		other := sides[ends{e.peer, e.local}]
		for i := range full {
			r := &full[i]
			if r.Type != "transition" || r.addresses() != e {
				continue
			}
			if r.Closer != side.Closer || r.Method != side.Method {
				t.Errorf("%s\n\tledger %+v", r.row(), *side)
			}
			if r.PeerProcess != nil && (other == nil || r.PeerProcess.PID != other.PID && r.PeerProcess.PID != other.Opener) {
				t.Errorf("the other end is put down to %d: %s\n\tledger %+v", r.PeerProcess.PID, r.row(), other)
			}
		}
	}
	named := 0
	for _, r := range full {
		if r.Type == "transition" && r.PeerProcess != nil {
			named++
		}
	}
	if named == 0 {
		t.Error("the process at the other end is never named")
	}
}
