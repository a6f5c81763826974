// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TextOptions configures [Text].
type TextOptions struct {
	Color bool
	Rows  int // of each table; 0: 15
}

// Text writes the report for people at a terminal. An error of w is returned as it is.
func Text(w io.Writer, r *Report, opt TextOptions) error {
	if opt.Rows == 0 {
		opt.Rows = 15
	}
	t := text{paper: paper{color: opt.Color}, Report: r, rows: opt.Rows}
	t.complete()
	t.closers()
	t.timeWaits()
	t.ports()
	t.lasting()
	t.existing()
	t.findings()
	return t.flush(w)
}

type text struct {
	paper
	*Report
	rows int
}

// Headline is the report in one line.
func (r *Report) Headline() string {
	n := map[Severity]int{}
	for i := range r.Findings {
		n[r.Findings[i].Severity]++
	}
	if len(r.Findings) == 0 {
		return "No findings."
	}
	var parts []string
	for _, s := range []Severity{Critical, Warning, Info} {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return plural(len(r.Findings), "finding") + ": " + strings.Join(parts, ", ") + ". The first: " + printable([]byte(r.Findings[0].Title)) + "."
}

func (t *text) complete() {
	t.wrap("", t.paint(t.severity(t.WorstSeverity()), t.Headline()))
	t.heading("Is the trace complete?")
	if t.Trace.Complete {
		t.line("  %s nothing was lost.", t.paint(green, "Yes:"))
	} else {
		t.line("  %s see below for what is missing; what was seen is right.", t.paint(yellow, "No:"))
	}
	for _, f := range t.Trace.Files {
		t.wrap("  ", f.Summary())
		for _, m := range f.Missing {
			t.wrap("    - ", printable([]byte(m)))
		}
	}
	t.limits()
}

// Summary is a recording in one line.
func (f *File) Summary() string {
	s := printable([]byte(f.Name)) + ": "
	if f.Host != "" {
		s += "host " + printable([]byte(f.Host)) + ", Linux " + printable([]byte(f.Kernel)) + ", "
	}
	s += fmt.Sprintf("%s – %s UTC, %s", f.From.Format(time.DateTime), f.From.Add(f.Elapsed).Format(time.TimeOnly), plural(f.Records, "record"))
	if n := len(f.Checks); n > 0 {
		agree := 0
		for _, c := range f.Checks {
			if c.Agree {
				agree++
			}
		}
		s += fmt.Sprintf("; the kernel's own counters: %d of %d agree", agree, n)
	}
	return s
}

func (t *text) limits() {
	l := t.Limits
	for _, x := range []struct {
		n    uint64
		what string
	}{
		{l.Connections, "connections were dropped from the table while they were closing; their ends are missing"},
		{l.Peers, "peers with few closes were added up instead of listed"},
		{l.Budgets, "port budgets with low peaks were dropped"},
		{l.Programs, "sightings of programs beyond the table were added up as (others)"},
	} {
		if x.n > 0 {
			t.line("  - %s %s", Count(x.n), x.what)
		}
	}
}

// Name is how a program is written: its name, its process ids, its container.
func (p *Program) Name() string {
	if p.Comm == "" {
		return "-"
	}
	s := p.Comm
	switch {
	case len(p.PIDs) == 1 && !p.More:
		s += "[" + strconv.Itoa(int(p.PIDs[0])) + "]"
	case len(p.PIDs) > 1 && !p.More:
		s += fmt.Sprintf("[%d processes]", len(p.PIDs))
	case p.More:
		s += fmt.Sprintf("[over %d processes]", len(p.PIDs))
	}
	if p.Container != "" {
		s += "@" + p.Container[:min(12, len(p.Container))]
	}
	return s
}

func (t *text) hosted(heads []string, host string, cells []string) ([]string, []string) {
	if len(t.TimeWait) < 2 {
		return heads, cells
	}
	return append([]string{"HOST"}, heads...), append([]string{printable([]byte(host))}, cells...)
}

func (t *text) more(shown, all int) {
	if all > shown {
		t.line("  … and %s more (-o json has them)", Count(all-shown))
	}
}

func (t *text) closers() {
	t.heading("Who closed first?")
	t.line("  %s, seen from %s; %s failed.", plural(t.Totals.Connections, "connection"), plural(t.Totals.Ends, "end"), plural(t.Totals.Failed, "connect"))
	if len(t.Closers) == 0 {
		return
	}
	var heads []string
	var rows [][]string
	for i := range t.Closers[:min(len(t.Closers), t.rows)] {
		c := &t.Closers[i]
		heads = []string{"PROCESS", "ROLE", "PORT", "PEER", ">CLOSES", ">BY US", ">BY PEER", ">BOTH", ">KERNEL", ">ABORTED", "HOW"}
		all := float64(c.Closes)
		share := func(who string) string { return Percent(float64(c.Closers[who]), all) }
		port := "-"
		if c.LocalPort != 0 {
			port = strconv.Itoa(int(c.LocalPort))
		}
		peer := c.Peer
		if c.Mate != nil {
			peer += " " + c.Mate.Name()
		}
		row := []string{
			c.Process.Name(), cmp.Or(c.Role, "-"), port, peer, Count(c.Closes),
			share("local"), share("peer"), share("both"), share("kernel"), Count(c.Aborted), Methods(c.Methods),
		}
		heads, row = t.hosted(heads, c.Host, row)
		rows = append(rows, row)
	}
	t.table(heads, rows)
	t.more(len(rows), len(t.Closers))
}

// Methods writes counts by method, the most frequent first.
func Methods(m map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
	for i, n := range names {
		names[i] = n + " " + Count(m[n])
	}
	return strings.Join(names, ", ")
}

func (t *text) timeWaits() {
	t.heading("What did TIME_WAIT cost?")
	for i := range t.TimeWait {
		w := &t.TimeWait[i]
		if w.Host != "" {
			t.line("  host %s:", printable([]byte(w.Host)))
		}
		peak := ""
		if w.PeakAt != nil && w.Peak > 0 {
			peak = " at " + w.PeakAt.Format(time.TimeOnly) + " UTC"
		}
		t.line("  %s began; %s alive at the end, %s at peak%s.", Count(w.Born), Count(w.Live), Count(w.Peak), peak)
		if w.Born > 0 {
			t.line("  %s", w.Spent())
		}
		if l := w.Length; l != nil {
			t.line("  Length: p50 %s, p90 %s, p99 %s, max %s, of %s that ended.", Span(l.P50), Span(l.P90), Span(l.P99), Span(l.Max), Count(l.Count))
		}
		if len(w.Ends) > 0 {
			t.line("  Ended: %s.", strings.ReplaceAll(Methods(w.Ends), "_", " "))
		}
		if w.Restart > 0 {
			t.line("  Restarted by the peer: %s, %s times in all.", Count(w.Restart), Count(w.Restarts))
		}
		if l := w.Late; l != nil {
			t.line("  The kernel's timer was late by p50 %s, p99 %s, max %s.", Span(l.P50), Span(l.P99), Span(l.Max))
		}
	}
}

// Spent says how many of the TIME_WAITs cost more than memory.
func (w *TimeWait) Spent() string {
	switch w.Ports {
	case 0:
		return "None of them keeps a local port from connect(): this side was connected to. They cost memory only."
	case w.Born:
		return "Each keeps a local port from connect(): this side called it."
	}
	return Count(w.Ports) + " of them keep a local port from connect(), which this side called; the others cost memory only."
}

func (t *text) ports() {
	t.heading("How much of the port range is left?")
	list := slices.Clone(t.Ports)
	// Budgets that are nearly untouched need no line.
	list = slices.DeleteFunc(list, func(p Ports) bool { return p.Failed == 0 && p.Taken < 2 })
	if len(list) == 0 {
		t.line("  No port budget is worth a line.")
	} else {
		var heads []string
		var rows [][]string
		for i := range list[:min(len(list), t.rows)] {
			p := &list[i]
			heads = []string{"PROCESS", "FROM", "TO", ">NOW", ">PEAK", ">OF", ">SHARE", ">PER SECOND", "AT THIS RATE", ">FAILED"}
			capacity, share := "-", "-"
			if p.Capacity > 0 {
				capacity, share = Count(p.Capacity), Percent(float64(p.Peak), float64(p.Capacity))
			}
			row := []string{
				p.Process.Name(), p.Local, p.Peer, Count(p.Now), Count(p.Peak), capacity, share,
				strconv.FormatFloat(p.Rate, 'f', 1, 64), p.Outlook(), Count(p.Failed),
			}
			heads, row = t.hosted(heads, p.Host, row)
			rows = append(rows, row)
		}
		t.table(heads, rows)
		t.more(len(rows), len(list))
	}
	for _, f := range t.Failures {
		t.line("  connect() failed with %s: %s", f.Error, Count(f.Count))
	}
}

// Outlook says where the use of ports is heading.
func (p *Ports) Outlook() string {
	switch {
	case p.Failed > 0 && p.FailsIn == nil:
		return "failed"
	case p.FailsIn != nil && *p.FailsIn <= 0:
		return "fails now"
	case p.FailsIn != nil:
		return "fails in " + Span(*p.FailsIn)
	case p.Capacity == 0:
		return "range not known"
	case p.ByReuse:
		return "lasts, by reuse"
	}
	return "stays at " + Count(int64(p.Level+0.5))
}

func (t *text) lasting() {
	t.heading("Which closes do not finish?")
	if len(t.Lasting) == 0 {
		t.line("  None stayed in CLOSE_WAIT or FIN_WAIT2 for more than %s.", Span(lasting))
		return
	}
	var heads []string
	var rows [][]string
	for i := range t.Lasting[:min(len(t.Lasting), t.rows)] {
		l := &t.Lasting[i]
		state := l.State
		if state == "CLOSE" {
			state = "dead, held"
		}
		heads = []string{"STATE", "PROCESS", "ROLE", ">ENTERED", ">LASTED", ">STILL OPEN", ">NO FIN", ">LONGEST"}
		row := []string{state, l.Process.Name(), cmp.Or(l.Role, "-"), Count(l.Entered), Count(l.Long), Count(l.Open), Count(l.NeverFin), Span(l.Longest)}
		heads, row = t.hosted(heads, l.Host, row)
		rows = append(rows, row)
	}
	t.table(heads, rows)
	t.more(len(rows), len(t.Lasting))
}

func (t *text) existing() {
	t.heading("What existed before the trace?")
	for i := range t.Existing {
		e := &t.Existing[i]
		lead := "  "
		if e.Host != "" {
			lead += printable([]byte(e.Host)) + ": "
		}
		t.line("%s%s and %s; %s of them ended in the trace.", lead, plural(e.Sockets, "socket"), plural(e.TimeWaits, "TIME_WAIT"), Count(e.Ended))
	}
}
