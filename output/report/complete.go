// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"

	"finwait/tracer/event"
)

// file says what is known of a recording, and whether it is whole.
func (t *Trace) file() File {
	f := File{Name: t.name(), Records: t.records, Lost: map[string]uint64{}, Elapsed: asDuration(t.last - t.first)}
	if t.h != nil {
		f.From = t.h.clock.Wall(t.first)
	}
	if s := t.start; s != nil {
		f.Host, f.Kernel, f.Version, f.Probe = s.Host, s.Kernel, s.Version, s.Probe
		for _, h := range s.Hooks {
			if h.Attached == "" {
				f.Missing = append(f.Missing, fmt.Sprintf("%s was not attached: %s", h.Name, h.Lost))
			}
		}
	} else {
		f.Missing = append(f.Missing, "it has no trace_start: settings and port ranges are not known")
	}
	f.Missing = append(f.Missing, t.notes...)
	lost := t.lost
	switch {
	case t.end != nil:
		lost = t.end.Lost
		f.Elapsed = t.end.Elapsed
		f.Checks = checks(t.end.Kernel)
	case len(t.notes) == 0:
		f.Missing = append(f.Missing, "it is cut off: it has no trace_end")
	}
	for _, r := range event.LossReasons {
		f.Lost[r.String()] = lost[r]
		if n := lost[r]; n > 0 {
			f.Missing = append(f.Missing, fmt.Sprintf("%s lost: %s", plural(n, "event"), r))
		}
	}
	for _, c := range f.Checks {
		if !c.Agree {
			f.Missing = append(f.Missing, fmt.Sprintf("%s: the kernel counted %s, finwait %s (namespace %d)", c.Counter, Count(c.Kernel), Count(c.Ours), c.NetNS))
		}
	}
	if t.overlaps() {
		f.Missing = append(f.Missing, "it overlaps another recording of the same host: events in both count twice")
	}
	f.Complete = len(f.Missing) == 0
	return f
}

// name is the first file's, and how many follow it.
func (t *Trace) name() string {
	switch len(t.files) {
	case 0:
		return "trace"
	case 1:
		return t.files[0]
	}
	return fmt.Sprintf("%s and %s", t.files[0], plural(len(t.files)-1, "more part"))
}

// checks are the kernel's counters that the trace has a count for too.
func checks(list []event.KernelCounters) (out []Check) {
	for i := range list {
		k := &list[i]
		for c := range event.CounterEnd {
			n := k.Counters[c]
			if k.Filtered || n.Kernel == event.Unknown || n.Ours == event.Unknown {
				continue
			}
			name := c.String()
			if c == event.CounterTW {
				name = "TW + TWKilled"
				n.Kernel += max(k.Counters[event.CounterTWKilled].Kernel, 0)
			}
			out = append(out, Check{NetNS: k.NetNS, Counter: name, Kernel: n.Kernel, Ours: n.Ours, Unsure: n.Unsure, Agree: !k.Differs(c)})
		}
	}
	return out
}

// findings says what is missing from a recording where that is more than a detail.
func (t *Trace) findings() []Finding {
	f := t.file()
	var n uint64
	for _, lost := range f.Lost {
		n += lost
	}
	if n == 0 && !t.overlaps() {
		return nil
	}
	out := Finding{
		ID: "trace-incomplete", Severity: Warning, Host: f.Host,
		Title:    fmt.Sprintf("%s is incomplete: %s lost", f.Name, plural(n, "event")),
		Evidence: f.Missing,
		Means:    "Counts are too low by what was lost, and connections whose steps are missing may be in the wrong row. What was seen is right.",
		Change:   []string{"Record again with a larger --ring-size or --max-sockets, or with filters that choose less."},
	}
	if n == 0 {
		out.Title = f.Name + " overlaps another recording of the same host"
		out.Means = "Events that are in both files are counted twice."
		out.Change = []string{"Make the report of one of them."}
	}
	if t.end == nil {
		out.Change = append(out.Change, "The file is cut off as well; what is there was read.")
	}
	for i, e := range out.Evidence {
		out.Evidence[i] = strings.ToUpper(e[:1]) + e[1:] + "."
	}
	return []Finding{out}
}
