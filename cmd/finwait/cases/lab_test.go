// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// lab is a host on its own, in which the closes of finwait's own workload are made: with
// segments written by hand, where no program would send them.
type lab struct {
	*host
	*workload.Lab
	made map[workload.Kind][]workload.Close
}

// labTime bounds what is made in a lab; it is a safety net.
const labTime = 5 * time.Minute

func (n *network) lab(name string, opt workload.Options) *lab {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), labTime)
	n.t.Cleanup(cancel)
	made, err := workload.New(ctx, opt)
	if err != nil {
		n.t.Fatal(err)
	}
	l := &lab{host: &host{network: n, name: name}, Lab: made, made: map[workload.Kind][]workload.Close{}}
	n.ip("netns", "attach", l.netns(), strconv.Itoa(made.PIDs()[0]))
	n.t.Cleanup(func() {
		if err := removeNamespace(l.netns()); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() {
		if err := made.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return l
}

// make makes closes of a kind.
func (l *lab) make(kind workload.Kind, times int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), labTime)
	defer cancel()
	for range times {
		ledger, err := l.Run(ctx, kind)
		if err != nil {
			l.t.Fatal(err)
		}
		l.made[kind] = append(l.made[kind], ledger.Closes...)
	}
}

// end is one end of a connection in a trace.
type end struct {
	rows []*event.Transition
}

// ends returns what a trace has of the connections of a kind: client's and server's ends, pairs
// of which every step was seen. A host may hide some steps from every tracer; not all.
func (l *lab) ends(t *trace, kind workload.Kind) (pairs [][2]end) {
	l.t.Helper()
	byEnds := map[string][]*event.Transition{}
	for i := range t.rows {
		r := &t.rows[i]
		k := fmt.Sprint(r.Local, r.Peer)
		byEnds[k] = append(byEnds[k], r)
	}
	whole := func(rows []*event.Transition) bool {
		for _, r := range rows {
			if r.Incomplete {
				return false
			}
		}
		return len(rows) > 0
	}
	for _, c := range l.made[kind] {
		client := byEnds[fmt.Sprint(c.Client.Local, c.Client.Peer)]
		server := byEnds[fmt.Sprint(c.Client.Peer, c.Client.Local)]
		if whole(client) && (c.Server == nil || whole(server)) {
			pairs = append(pairs, [2]end{{client}, {server}})
		}
	}
	if made := len(l.made[kind]); len(pairs) < (made+1)/2 {
		l.t.Errorf("%s: %d of %d connections are whole in the trace", kind, len(pairs), made)
	}
	return pairs
}

// step returns the first row between two states; nil if there is none.
func (e end) step(from, to event.State) *event.Transition {
	for _, r := range e.rows {
		if r.Old == from && r.New == to {
			return r
		}
	}
	return nil
}

// waited is the end of TIME_WAIT; nil if there was none.
func (e end) waited() *event.Transition { return e.step(event.TimeWait, event.Close) }

// entered is the beginning of it.
func (e end) entered() bool {
	for _, r := range e.rows {
		if r.New == event.TimeWait {
			return true
		}
	}
	return false
}

func (e end) String() string {
	var b strings.Builder
	for _, r := range e.rows {
		fmt.Fprintf(&b, " %v → %v", r.Old, r.New)
		if r.TimeWait != nil {
			fmt.Fprintf(&b, " (%v)", r.TimeWait.End)
		}
	}
	return b.String()
}
