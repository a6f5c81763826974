// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func printMachine(w io.Writer, o *options, missing []string) {
	var uts unix.Utsname
	unix.Uname(&uts)
	release, _, _ := strings.Cut(unix.ByteSliceToString(uts.Release[:]), "-")
	fmt.Fprintf(w, "Linux %s, %s, %d CPUs (%s); %d rounds of %d connections.", release, runtime.GOARCH, runtime.NumCPU(), cpuModel(), o.rounds, o.conns)
	if len(missing) > 0 {
		fmt.Fprintf(w, " Not installed here, so not measured: %s.", strings.Join(missing, ", "))
	}
	fmt.Fprint(w, "\n\n")
}

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// printPeers is the table of the contenders side by side.
func printPeers(w io.Writer, list []contender, all *results) {
	fmt.Fprint(w, "| | goal |")
	for _, c := range list {
		fmt.Fprintf(w, " %s |", c.name)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("---|", len(list)))
	row := func(name, goal string, cell func(c *contender, r *result) string) {
		fmt.Fprintf(w, "| %s | %s |", name, goal)
		for i := range list {
			fmt.Fprintf(w, " %s |", cell(&list[i], all.of[list[i].name]))
		}
		fmt.Fprintln(w)
	}
	row("ns in BPF programs per state change", "", func(_ *contender, r *result) string { return r.net.text("%.0f") })
	row("… ÷ tcpstates", "≤ 1/20", func(_ *contender, r *result) string { return inverse(r.netRatio) })
	row("the same, what the statistics take included", "", func(_ *contender, r *result) string { return r.raw.text("%.0f") })
	row("… ÷ tcpstates", "", func(_ *contender, r *result) string { return inverse(r.rawRatio) })
	row("program runs per state change", "", func(_ *contender, r *result) string { return r.runs.text("%.1f") })
	row("connections/s kept", "≥ 0.90", func(_ *contender, r *result) string { return r.kept.text("%.2f") })
	row("CPU µs of the load per connection, traced", "", func(_ *contender, r *result) string { return r.load.text("%.1f") })
	row("… and alone", "", func(_ *contender, r *result) string { return r.alone.text("%.1f") })
	row("… ÷", "", func(_ *contender, r *result) string { return r.added.text("%.2f") })
	row("tracer's user ns per state change", "", func(_ *contender, r *result) string { return r.user.text("%.0f") })
	row("… ÷ tcpstates", "≤ 1/3", func(_ *contender, r *result) string { return r.userRatio.text("%.2f") })
	row("tracer's system ns per state change", "", func(_ *contender, r *result) string { return r.system.text("%.0f") })
	row("missing", "0", func(c *contender, r *result) string {
		if r.rows == 0 {
			return "–"
		}
		if c.ours {
			return fmt.Sprintf("%d of %d records lost; %d TIME_WAITs unseen", r.lost, r.rows, r.unseen)
		}
		return fmt.Sprintf("%d of %d rows", max(r.lost, 0), r.rows)
	})
	row("ms from start to ready", "≤ 500", func(_ *contender, r *result) string { return r.ready.text("%.0f") })
	fmt.Fprintf(w, "\nBPF statistics take %s ns of each run of a program.\n\n", all.empty.text("%.0f"))
}

// inverse writes small ratios as 1/n.
func inverse(s series) string {
	if len(s) == 0 || s.median() > 0.5 {
		return s.text("%.2f")
	}
	return fmt.Sprintf("1/%.0f (1/%.0f to 1/%.0f)", 1/s.median(), 1/slices.Max(s), 1/slices.Min(s))
}

// printPrograms says where our time in the kernel goes.
func printPrograms(w io.Writer, r *result) {
	fmt.Fprint(w, "| finwait's program | ns per state change |\n|---|---|\n")
	names := make([]string, 0, len(r.parts))
	for name := range r.parts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := r.parts[a].median(), r.parts[b].median()
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if r.parts[name].median() >= 0.5 {
			fmt.Fprintf(w, "| `%s` | %s |\n", name, r.parts[name].text("%.0f"))
		}
	}
	fmt.Fprintln(w)
}

// printSizes is the table of what grows, and what does not.
func printSizes(w io.Writer, sockets, timeWaits []*sized) {
	const mib = 1 << 20
	fmt.Fprint(w, "| live on the host | ns in programs per state change | user ns per state change | resident MiB, the ring included | other maps in the kernel, MiB | together (goal at 100000 TIME_WAITs: ≤ 64) |\n|---|---|---|---|---|---|\n")
	for _, list := range []struct {
		what  string
		sized []*sized
	}{{"sockets", sockets}, {"TIME_WAITs", timeWaits}} {
		for _, s := range list.sized {
			resident := make(series, len(s.resident))
			for i, v := range s.resident {
				resident[i] = v / mib
			}
			fmt.Fprintf(w, "| %d %s | %s | %s | %s | %.1f | %.1f |\n", s.live, list.what, s.kernel.text("%.0f"), s.user.text("%.0f"),
				resident.text("%.1f"), float64(s.maps)/mib, resident.median()+float64(s.maps)/mib)
		}
	}
	fmt.Fprintln(w)
}

func printRest(w io.Writer, off offline, ns series, allocs float64) {
	million := func(s series) string {
		m := make(series, len(s))
		for i, v := range s {
			m[i] = v / 1e6
		}
		return m.text("%.2f") + " million"
	}
	fmt.Fprint(w, "| | goal | finwait |\n|---|---|---|\n")
	fmt.Fprintf(w, "| allocations per event, decode → flow → JSON | 0 | %g |\n", allocs)
	fmt.Fprintf(w, "| CPU ns per event, decode → flow → JSON | | %s |\n", ns.text("%.0f"))
	fmt.Fprintf(w, "| `replay -o json`: events per second of CPU | ≥ 1 million | %s |\n", million(off.replay))
	fmt.Fprintf(w, "| `report`: events per second of CPU | | %s |\n", million(off.report))
}
