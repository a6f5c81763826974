// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"time"

	"finwait/tracer/event"
)

// maxWorst is how many of each kind are kept for the table of the worst connections.
const maxWorst = 40

// bad is a connection of that table.
type bad struct {
	example
	program uint32
	pid     uint32
	role    event.Role
	closer  event.Closer
	method  event.Method
	errno   uint16
}

// worst keeps, of each kind, the connections with the highest values.
type worst struct {
	kinds  [kindEnd][]bad
	failed []bad // connects: the first ones
}

func (w *worst) add(h *host, k kind, c *conn, ktime, value int64) {
	w.put(k, bad{
		example: example{ktime, c.tuple, c.key.netns, value}, program: c.program, pid: c.pid,
		role: c.role, closer: c.closer, method: c.method,
	})
}

// put keeps a full list sorted, the highest value first; of equals the earlier stays.
func (w *worst) put(k kind, b bad) {
	list := w.kinds[k]
	if len(list) == maxWorst {
		if b.value <= list[maxWorst-1].value {
			return
		}
		list = list[:maxWorst-1]
	}
	at, _ := slices.BinarySearchFunc(list, b.value, func(e bad, v int64) int {
		if e.value >= v {
			return -1
		}
		return 1
	})
	w.kinds[k] = slices.Insert(list, at, b)
}

func (w *worst) connectError(h *host, e *event.ConnectError) {
	if len(w.failed) < maxWorst {
		w.failed = append(w.failed, bad{
			example: example{e.KTime, event.TupleOf(e.Local, e.Peer), e.NetNS, event.Unknown},
			program: h.processes.intern(&e.Process), pid: e.Process.PID, role: event.Client, errno: e.Errno,
		})
	}
}

// all returns the table, the latest first.
func (w *worst) all() (list []bad, kinds []kind) {
	type row struct {
		bad
		kind
	}
	var rows []row
	for k, of := range w.kinds {
		for _, b := range of {
			rows = append(rows, row{b, kind(k)})
		}
	}
	for _, b := range w.failed {
		rows = append(rows, row{b, kindEnd})
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.ktime, a.ktime), cmp.Compare(a.kind, b.kind), compareTuples(&a.tuple, &b.tuple))
	})
	for _, r := range rows {
		list, kinds = append(list, r.bad), append(kinds, r.kind)
	}
	return list, kinds
}

func asDuration(ns int64) time.Duration { return time.Duration(ns) }
