// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"strconv"

	"finwait/tracer/event"
)

// Budget writes a budget record.
func (w *Writer) Budget(b *event.Budget) error {
	o := w.begin("budget", b.KTime)
	o.open("netns")
	o.uint("inode", uint64(b.NetNS))
	o.close()
	if b.Family == 6 {
		o.str("network_type", "ipv6")
	} else {
		o.str("network_type", "ipv4")
	}
	o.open("local")
	o.str("address", b.Local.String())
	o.close()
	o.endpoint("peer", b.Peer)
	if b.Capacity != event.Unknown {
		o.open("range")
		o.uint("first", uint64(b.Range.First))
		o.uint("last", uint64(b.Range.Last))
		o.int("reserved", b.Reserved)
		o.int("ports", b.Capacity)
		o.close()
		o.int("used", b.Used)
		o.int("bound", b.Bound)
		o.int("left", b.Left)
		o.int("reusable", b.Reusable)
		o.int("outside", b.Outside)
		o.int("shared", b.Shared)
	}
	if len(b.SharedWith) > 0 {
		o.list("shared_with")
		for i := range b.SharedWith {
			s := &b.SharedWith[i]
			o.item()
			o.open("local")
			o.str("address", s.Local.String())
			o.close()
			o.endpoint("peer", s.Peer)
			o.int("ports", s.Ports)
			o.close()
		}
		o.endList()
	}
	o.open("states")
	for s, n := range b.States {
		if n > 0 {
			o.int(event.State(s).String(), n)
		}
	}
	o.close()
	o.owners(b.Owners, b.Orphan)
	o.open("reuse")
	if b.Reuse != "" {
		o.str("tcp_tw_reuse", b.Reuse)
		o.bool("applies", b.ReuseHere)
	}
	o.int("time_waits_with_timestamps", b.Timestamps)
	o.close()
	o.known("next_back_ns", int64(b.NextBack))
	o.known("last_back_ns", int64(b.LastBack))
	if b.Interval > 0 {
		o.open("rate")
		o.nanos("interval_ns", b.Interval)
		o.int("taken", b.Taken)
		o.int("returned", b.Returned)
		if b.Capacity != event.Unknown {
			o.float("levels_off_at", b.Level)
			o.known("fails_in_ns", int64(b.FailsIn))
		}
		o.close()
	}
	return w.end()
}

// owners writes the processes that hold connections, and how many nobody holds.
func (o *object) owners(list []event.BudgetOwner, orphan int64) {
	o.list("owners")
	for i := range list {
		o.item()
		o.process("process", &list[i].Process)
		o.int("connections", list[i].Connections)
		o.close()
	}
	o.endList()
	o.int("held_by_nobody", orphan)
}

// list begins an array, item an object in it.
func (o *object) list(k string) {
	o.key(k)
	o.b = append(o.b, '[')
}

func (o *object) item() {
	if o.b[len(o.b)-1] != '[' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '{')
}

func (o *object) endList() { o.b = append(o.b, ']') }

func (o *object) float(k string, v float64) {
	o.key(k)
	o.b = strconv.AppendFloat(o.b, v, 'f', 1, 64)
}
