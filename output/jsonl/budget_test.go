// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// budget is one of which everything is known.
func budget() event.Budget {
	b := event.Budget{
		KTime: 1_000_000_001, NetNS: 4026531840, Family: 4,
		Local: netip.MustParseAddr("10.0.0.4"), Peer: netip.MustParseAddrPort("10.0.3.7:8080"),
		Range: event.PortRange{First: 32768, Last: 60999}, Reserved: 2, Capacity: 28230,
		Used: 5, Bound: 1, Left: 28226, Reusable: 2, Outside: 1, Shared: 1,
		SharedWith: []event.SharedPeer{{Local: netip.MustParseAddr("10.0.0.4"), Peer: netip.MustParseAddrPort("10.0.3.8:80"), Ports: 1}},
		Owners:     []event.BudgetOwner{{Process: nginx, Connections: 2}, {Process: curl, Connections: 1}}, Orphan: 1,
		Reuse: "2", ReuseHere: true, Timestamps: 2,
		Interval: time.Second, Taken: 3, Returned: 1, Level: 183.04, FailsIn: 0, NextBack: time.Second, LastBack: time.Minute,
	}
	b.States[event.Established], b.States[event.CloseWait], b.States[event.TimeWait] = 2, 1, 3
	return b
}

// bareBudget is one of which nothing is known that need not be.
func bareBudget() event.Budget {
	return event.Budget{
		NetNS: 1, Family: 6, Local: netip.IPv6Loopback(), Peer: netip.MustParseAddrPort("[::1]:80"),
		Capacity: event.Unknown, Used: event.Unknown, Bound: event.Unknown, Left: event.Unknown,
		FailsIn: event.Unknown, NextBack: event.Unknown, LastBack: event.Unknown,
	}
}

func TestBudget(t *testing.T) {
	full, bare := budget(), bareBudget()
	for _, tc := range []struct {
		name  string
		write func(*Writer) error
		want  string
	}{
		{"everything known", func(w *Writer) error { return w.Budget(&full) }, `{
			"type":"budget","schema_version":1,"timestamp":"2023-11-14T22:13:21.000000001Z","ktime_ns":1000000001,
			"netns":{"inode":4026531840},"network_type":"ipv4","local":{"address":"10.0.0.4"},"peer":{"address":"10.0.3.7","port":8080},
			"range":{"first":32768,"last":60999,"reserved":2,"ports":28230},"used":5,"bound":1,"left":28226,"reusable":2,"outside":1,"shared":1,
			"shared_with":[{"local":{"address":"10.0.0.4"},"peer":{"address":"10.0.3.8","port":80},"ports":1}],
			"states":{"ESTABLISHED":2,"TIME_WAIT":3,"CLOSE_WAIT":1},
			"owners":[{"process":{"pid":812,"tid":813,"comm":"nginx","thread":"worker","uid":33,"start_ns":"1152921504606846977","exe":"/usr/sbin/nginx",
				"cgroup":"/system.slice/nginx.service","container":{"id":"abc"},"signal":9},"connections":2},
				{"process":{"pid":99,"tid":99,"comm":"curl","thread":"curl","uid":0,"start_ns":"5"},"connections":1}],"held_by_nobody":1,
			"reuse":{"tcp_tw_reuse":"2","applies":true,"time_waits_with_timestamps":2},"next_back_ns":1000000000,"last_back_ns":60000000000,
			"rate":{"interval_ns":1000000000,"taken":3,"returned":1,"levels_off_at":183.0,"fails_in_ns":0}}`},
		{"nothing known", func(w *Writer) error { return w.Budget(&bare) }, `{
			"type":"budget","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000000Z","ktime_ns":0,
			"netns":{"inode":1},"network_type":"ipv6","local":{"address":"::1"},"peer":{"address":"::1","port":80},
			"states":{},"owners":[],"held_by_nobody":0,"reuse":{"time_waits_with_timestamps":0}}`},
	} {
		if diff := cmp.Diff(one(t, tc.write), parsed(t, tc.want)); diff != "" {
			t.Errorf("%s (-is +want):\n%s", tc.name, diff)
		}
	}
}

// TestBudgetIsNoTrace: a reader of traces passes over it.
func TestBudgetIsNoTrace(t *testing.T) {
	r := NewReader(bytes.NewReader(written(t, budget(), *full())))
	rec, err := r.Next()
	if err != nil || rec.Type != TypeTransition || r.Other() != 1 {
		t.Fatalf("%+v, %v; %d others", rec, err, r.Other())
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("%v, want the end", err)
	}
}
