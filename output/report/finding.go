// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"time"
)

// Severity orders findings. Info is good to know, Warning costs something or soon will,
// Critical fails connections or loses data now.
type Severity uint8

// The severities.
const (
	SeverityNone Severity = iota
	Info
	Warning
	Critical
)

var severityNames = []string{"none", "info", "warning", "critical"}

func (s Severity) String() string { return severityNames[min(int(s), len(severityNames)-1)] }

// MarshalText writes the name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *Severity) UnmarshalText(text []byte) error {
	parsed, ok := ParseSeverity(string(text))
	if !ok {
		return fmt.Errorf("parse severity %q: use info, warning or critical", text)
	}
	*s = parsed
	return nil
}

// ParseSeverity is the inverse of String, for info, warning and critical.
func ParseSeverity(name string) (Severity, bool) {
	for s := Info; s <= Critical; s++ {
		if severityNames[s] == name {
			return s, true
		}
	}
	return SeverityNone, false
}

// Finding is something that the evidence carries, what it means, and what to do.
type Finding struct {
	ID       string    `json:"id"`
	Severity Severity  `json:"severity"`
	Host     string    `json:"host,omitempty"`
	Title    string    `json:"title"`
	Evidence []string  `json:"evidence"`
	Examples []Example `json:"examples,omitempty"`
	Replay   string    `json:"replay,omitempty"` // a command line that shows the evidence
	Means    string    `json:"means"`
	Change   []string  `json:"change"`
	Not      []string  `json:"do_not,omitempty"`
}

// Example is one connection that shows what a finding says.
type Example struct {
	Time  time.Time `json:"time"`
	NetNS uint32    `json:"netns,omitempty"`
	Local string    `json:"local"`
	Peer  string    `json:"peer"`
	Note  string    `json:"note,omitempty"`
}

// Worst returns the highest severity among the findings.
func (r *Report) WorstSeverity() (s Severity) {
	for i := range r.Findings {
		s = max(s, r.Findings[i].Severity)
	}
	return s
}

// examples turns a group's into a finding's; note writes the value.
func (v *view) examples(list []example, note func(int64) string) (out []Example) {
	for _, e := range list {
		x := Example{Time: v.wall(e.ktime), NetNS: e.netns, Local: e.tuple.LocalAddr().String(), Peer: e.tuple.PeerAddr().String()}
		if note != nil && e.value >= 0 {
			x.Note = note(e.value)
		}
		out = append(out, x)
	}
	return out
}

func noteSpan(what string) func(int64) string {
	return func(n int64) string { return what + " " + Span(asDuration(n)) }
}

// findings runs every rule. The order is that of printing among equals.
func (v *view) findings() (out []Finding) {
	for _, rule := range []func(*view) []Finding{
		(*view).portFindings,
		(*view).overflowFindings,
		(*view).clientFirst,
		(*view).serverFirst,
		(*view).idleFindings,
		(*view).reuseFindings,
		(*view).lingerFindings,
		(*view).unreadFindings,
		(*view).closeWaitFindings,
		(*view).finWait2Findings,
		(*view).cutFindings,
		(*view).adviceFindings,
	} {
		found := rule(v)
		if rest := len(found) - perFinding; rest > 0 {
			found = found[:perFinding]
			last := &found[perFinding-1]
			last.Evidence = append(last.Evidence, fmt.Sprintf("%d more like this one; the tables have them.", rest))
		}
		for _, f := range found {
			f.Host = v.label()
			out = append(out, f)
		}
	}
	return out
}

// who is how a finding names a program.
func (v *view) who(id uint32) string {
	p := v.program(id)
	if p.Comm == "" {
		return "A process that is not known"
	}
	name := p.Comm
	if p.Container != "" {
		name += " in container " + p.Container[:min(len(p.Container), 12)]
	}
	return name
}

// some is "12 of 40 connections", or "All 40 connections"; it begins a sentence.
func some[N ~int64 | ~uint64 | ~int](n, all N, noun string) string {
	if n == all && n > 1 {
		return "All " + plural(all, noun)
	}
	return Count(n) + " of " + plural(all, noun)
}

func perSecond(n uint64, d time.Duration) string {
	d = max(d, time.Second)
	rate := float64(n) / d.Seconds()
	switch {
	case rate >= 10:
		return Count(int64(rate+0.5)) + " a second"
	case rate >= 0.1:
		return fmt.Sprintf("%.1f a second", rate)
	}
	return fmt.Sprintf("%.0f an hour", rate*3600)
}
