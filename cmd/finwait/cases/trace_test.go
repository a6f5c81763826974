// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"errors"
	"io"
	"path/filepath"

	"finwait/output/jsonl"
	tracefile "finwait/output/trace"
	"finwait/tracer/event"
)

// trace is what a recording has, read by finwait's own reader.
type trace struct {
	host     *host
	line     string // the command that recorded it
	file     string
	start    *event.Start
	rows     []event.Transition
	failures []event.ConnectError
	end      *event.End
}

// load reads a recording, which must be whole.
func (r *recording) load() *trace {
	r.t.Helper()
	t := &trace{host: r.host, line: r.line, file: r.file}
	f, err := tracefile.Open(filepath.Join(r.dir, r.file))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for {
		rec, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.t.Fatal(err)
		}
		switch rec.Type {
		case jsonl.TypeStart:
			t.start = rec.Start
		case jsonl.TypeTransition:
			row := rec.Transition
			if row.TimeWait != nil {
				info := *row.TimeWait
				row.TimeWait = &info
			}
			t.rows = append(t.rows, row)
		case jsonl.TypeConnectError:
			t.failures = append(t.failures, rec.ConnectError)
		case jsonl.TypeEnd:
			t.end = rec.End
		}
	}
	if t.start == nil || t.end == nil {
		r.t.Fatalf("%s does not go from trace_start to trace_end", r.file)
	}
	for reason, n := range t.end.Lost {
		if n > 0 {
			r.t.Errorf("%s: %d lost: %v", r.file, n, reason)
		}
	}
	return t
}

// first returns the rows that say who closed first: one for each end of each connection.
func (t *trace) first(which func(*event.Transition) bool) (list []*event.Transition) {
	for i := range t.rows {
		if r := &t.rows[i]; r.Old == event.Established && (which == nil || which(r)) {
			list = append(list, r)
		}
	}
	return list
}

// count counts rows.
func (t *trace) count(which func(*event.Transition) bool) (n int) {
	for i := range t.rows {
		if which(&t.rows[i]) {
			n++
		}
	}
	return n
}

// timeWaits counts the TIME_WAITs that began.
func (t *trace) timeWaits() int {
	return t.count(func(r *event.Transition) bool { return r.New == event.TimeWait })
}

// open counts the TIME_WAITs of a program that began in the trace and have not ended: those that ss lists.
func (t *trace) open(comm string) (n int) {
	for i := range t.rows {
		switch r := &t.rows[i]; {
		case r.Process.Comm.String() != comm:
		case r.New == event.TimeWait:
			n++
		case r.Old == event.TimeWait && !r.Existed:
			n--
		}
	}
	return n
}

// reused counts the TIME_WAITs whose port connect() took over.
func (t *trace) reused() int {
	return t.count(func(r *event.Transition) bool { return r.TimeWait != nil && r.TimeWait.End == event.EndReusedByConnect })
}

// agree fails unless two counts of the same thing are equal. Where the host hides some tasks from
// tracers, as hardened hosts do, a step can fall into one of them; a few of a
// thousand then differ, and nothing else may.
func (h *host) agree(what string, traced, counted int) {
	h.t.Helper()
	if room := counted/200 + 2; traced < counted-room || traced > counted+room {
		h.t.Errorf("%s: %d in the trace, %d counted otherwise", what, traced, counted)
	} else if traced != counted {
		h.t.Logf("%s: %d in the trace, %d counted otherwise", what, traced, counted)
	}
}
