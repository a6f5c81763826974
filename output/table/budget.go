// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"finwait/tracer/event"
)

// Budgets writes port budgets, one line each and below it what has to be known to read it.
type Budgets struct {
	w   io.Writer
	opt Options
}

// NewBudgets returns a writer of port budgets.
func NewBudgets(w io.Writer, opt Options) *Budgets { return &Budgets{w: w, opt: opt} }

// Write writes a table. Several network namespaces get a column.
func (b *Budgets) Write(list []event.Budget) error {
	cols := []column{
		{"LOCAL", 0, false}, {"PEER", 0, false}, {"LEFT", 0, true}, {"OF", 0, true},
		{"ESTAB", 0, true}, {"TIME_WAIT", 0, true}, {"CLOSE_WAIT", 0, true}, {"SYN_SENT", 0, true}, {"CLOSING", 0, true},
		{"NEW/S", 0, true}, {"BACK/S", 0, true}, {"EXHAUSTED", 0, false},
	}
	several := b.opt.Wide
	for i := range list {
		several = several || list[i].NetNS != list[0].NetNS
	}
	if several {
		cols = append(cols, column{"NETNS", 0, true})
	}
	cols = append(cols, column{"HELD BY", 0, false})
	// The first time only tells how wide the columns are.
	sink := &Writer{w: io.Discard, cols: cols}
	for _, pass := range []*Writer{sink, {w: b.w, opt: b.opt, cols: cols}} {
		if b.opt.Header {
			pass.opt.Header = true
			if err := pass.header(); err != nil {
				return err
			}
		}
		for i := range list {
			if err := pass.budget(&list[i], several); err != nil {
				return err
			}
		}
	}
	return nil
}

// budget writes one line, and its notes.
func (w *Writer) budget(b *event.Budget, several bool) error {
	r := &w.row
	r.begin(w.cols)
	cell := func(s string) {
		r.add(s)
		r.next()
	}
	cell(b.Local.String())
	cell(b.Peer.String())
	r.count(b.Left)
	r.count(b.Capacity)
	closing := b.Connections()
	for _, s := range []event.State{event.Established, event.TimeWait, event.CloseWait, event.SynSent} {
		r.count(b.States[s])
		closing -= b.States[s]
	}
	r.count(closing)
	color := ""
	if b.Interval > 0 {
		cell(rate(b.Taken, b.Interval))
		cell(rate(b.Returned, b.Interval))
		cell(when(b))
	} else {
		cell("-")
		cell("-")
		cell("-")
	}
	if b.Left == 0 || b.Interval > 0 && b.FailsIn >= 0 && b.FailsIn < time.Minute {
		color = colorRed
	} else if b.Interval > 0 && b.FailsIn >= 0 {
		color = colorYellow
	}
	if several {
		cell(strconv.FormatUint(uint64(b.NetNS), 10))
	}
	r.holders(b)
	if err := w.flush(color); err != nil {
		return err
	}
	for _, note := range BudgetNotes(b) {
		r.begin(w.cols)
		r.add("    ", note)
		if err := w.flush(colorDim); err != nil {
			return err
		}
	}
	return nil
}

// holders names up to four processes.
func (r *row) holders(b *event.Budget) {
	const most = 4
	for i := range b.Owners[:min(len(b.Owners), most)] {
		o := &b.Owners[i]
		if i > 0 {
			r.add(", ")
		}
		r.name(&o.Comm)
		r.add("[", strconv.FormatUint(uint64(o.PID), 10), "] ", strconv.FormatInt(o.Connections, 10))
	}
	if n := len(b.Owners) - most; n > 0 {
		r.add(", ", strconv.Itoa(n), " more")
	}
	if b.Orphan > 0 {
		if len(b.Owners) > 0 {
			r.add(", ")
		}
		r.add("nobody ", strconv.FormatInt(b.Orphan, 10))
	}
	if len(b.Owners) == 0 && b.Orphan == 0 {
		r.add("-")
	}
}

func rate(n int64, over time.Duration) string {
	v := float64(n) / over.Seconds()
	if v >= 10 || v == 0 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// when says when no port will be left.
func when(b *event.Budget) string {
	switch {
	case b.Capacity == event.Unknown:
		return "-"
	case b.Left == 0:
		return "now"
	case b.FailsIn == event.Unknown:
		return "never"
	}
	return "in " + span(b.FailsIn)
}

// span is a duration for people.
func span(d time.Duration) string {
	switch {
	case d < 100*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 100*time.Minute:
		return strconv.FormatFloat(d.Minutes(), 'f', 0, 64) + " min"
	case d < 100*time.Hour:
		return strconv.FormatFloat(d.Hours(), 'f', 0, 64) + " h"
	}
	return strconv.FormatFloat(d.Hours()/24, 'f', 0, 64) + " days"
}

// BudgetNotes says, in sentences, what the figures of a budget rest on.
func BudgetNotes(b *event.Budget) (notes []string) {
	say := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if b.Capacity == event.Unknown {
		say("the port range of this network namespace could not be read")
	} else {
		line := fmt.Sprintf("%d of %d-%d used", b.Used, b.Range.First, b.Range.Last)
		if b.Reserved > 0 {
			line += fmt.Sprintf(", %d reserved", b.Reserved)
		}
		if b.Bound > 0 {
			line += fmt.Sprintf(", %d bound by bind() or listen(): connect() has them to no peer", b.Bound)
		}
		if b.Interval > 0 {
			line += fmt.Sprintf("; levels off at %.0f", b.Level)
		}
		notes = append(notes, line)
	}
	if b.Outside > 0 {
		say("%d more connections have local ports that are none of the range", b.Outside)
	}
	if b.Shared > 0 {
		var with []string
		for _, s := range b.SharedWith {
			to := s.Peer.String()
			if s.Local != b.Local {
				to = s.Local.String() + " to " + to
			}
			with = append(with, fmt.Sprintf("%s (%d)", to, s.Ports))
		}
		line := fmt.Sprintf("%d of its ports are used towards other peers too, and cost nothing there", b.Shared)
		if len(with) > 0 {
			line += ": " + strings.Join(with, ", ")
		}
		notes = append(notes, line)
	}
	if n := b.States[event.TimeWait]; n > 0 {
		line := fmt.Sprintf("the next port comes back in %s, the last in %s", span(b.NextBack), span(b.LastBack))
		if b.NextBack == event.Unknown {
			line = "connect() can have every port in TIME_WAIT already"
		}
		notes = append(notes, line+"; "+reuse(b, n))
	}
	return notes
}

// reuse says what tcp_tw_reuse does for n TIME_WAITs.
func reuse(b *event.Budget, n int64) string {
	switch {
	case b.Reuse == "":
		return "tcp_tw_reuse is not known"
	case b.Reuse == "0":
		return fmt.Sprintf("tcp_tw_reuse is 0 (off); %d of %d TIME_WAITs have the timestamps that it needs", b.Timestamps, n)
	case !b.ReuseHere:
		return fmt.Sprintf("tcp_tw_reuse is %s (loopback only), not for this peer; %d of %d TIME_WAITs have the timestamps that it needs", b.Reuse, b.Timestamps, n)
	}
	return fmt.Sprintf("tcp_tw_reuse is %s: connect() can take %d of %d TIME_WAITs over now, %d have the timestamps that it needs", b.Reuse, b.Reusable, n, b.Timestamps)
}
