// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

func seen() event.Seen {
	return event.Seen{
		KTime: 1, Socket: socket4, State: event.CloseWait, Flags: event.SeenFin | event.SeenOrphan, Owners: []*event.Process{&curl},
		Acked: time.Second, Received: 3 * time.Second, Unread: 5, Entered: event.Unknown,
	}
}

func seenMini() event.Seen {
	return event.Seen{
		KTime: 1, Socket: socket4, State: event.TimeWait, Flags: event.SeenMini | event.SeenTimestamps,
		Remaining: 58 * time.Second, Entered: event.Unknown,
	}
}

func TestSeen(t *testing.T) {
	const lead = `"schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,
		"socket":{"cookie":"9223372036854775809"},"netns":{"inode":4026531840},"network_type":"ipv4",
		"local":{"address":"10.0.0.4","port":51324},"peer":{"address":"10.0.3.7","port":8080},"role":"client",`
	full, mini := seen(), seenMini()
	for _, tc := range []struct {
		name  string
		write func(*Writer) error
		want  string
	}{
		{"CLOSE_WAIT", func(w *Writer) error { return w.Seen(&full) }, `{"type":"socket",` + lead + `"state":"CLOSE_WAIT",
			"in_state_at_least_ns":1000000000,"in_state_at_most_ns":3000000000,
			"owners":[{"process":{"pid":99,"tid":99,"comm":"curl","thread":"curl","uid":0,"start_ns":"5"}}],
			"since_ack_ns":1000000000,"since_data_ns":3000000000,"unread_bytes":5,"timestamps":false,"peer_closed":true,"orphan":true}`},
		{"TIME_WAIT", func(w *Writer) error { return w.Seen(&mini) }, `{"type":"socket",` + lead + `"state":"TIME_WAIT",
			"in_state_at_least_ns":2000000000,"owners":[],"remaining_ns":58000000000,"timestamps":true}`},
	} {
		if diff := cmp.Diff(one(t, tc.write), parsed(t, tc.want)); diff != "" {
			t.Errorf("%s (-is +want):\n%s", tc.name, diff)
		}
	}
}
