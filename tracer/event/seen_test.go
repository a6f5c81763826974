// SPDX-License-Identifier: Apache-2.0

package event

import (
	"testing"
	"time"
)

func TestLasting(t *testing.T) {
	const s = time.Second
	for _, tc := range []struct {
		name            string
		seen            Seen
		atLeast, atMost time.Duration
	}{
		{"CLOSE_WAIT", Seen{State: CloseWait, Acked: 5 * s, Received: 9 * s}, 5 * s, 9 * s},
		{"CLOSE_WAIT, whose peer still acknowledges", Seen{State: CloseWait, Acked: 0, Received: 9 * s}, 0, 9 * s},
		{"CLOSE_WAIT, seen before", Seen{State: CloseWait, Acked: 0, Received: 9 * s, Watched: 4 * s}, 4 * s, 9 * s},
		{"ESTABLISHED, seen before", Seen{State: Established, Watched: 4 * s}, 4 * s, Unknown},
		{"LAST_ACK", Seen{State: LastAck, Acked: 5 * s, Received: 9 * s}, Unknown, 9 * s},
		{"FIN_WAIT2", Seen{State: FinWait2, Acked: 5 * s, Received: 2 * s}, 5 * s, Unknown},
		{"a closed socket's FIN_WAIT2", Seen{State: FinWait2, Flags: SeenMini, Remaining: 5 * s, Entered: 5 * s}, Unknown, Unknown},
		{"TIME_WAIT, by its entry", Seen{State: TimeWait, Flags: SeenMini, Remaining: 50 * s, Entered: 11 * s}, 11 * s, 11 * s},
		{"TIME_WAIT, by its timer", Seen{State: TimeWait, Flags: SeenMini, Remaining: 50 * s, Entered: Unknown}, 10 * s, Unknown},
		{"TIME_WAIT, late", Seen{State: TimeWait, Flags: SeenMini, Remaining: -s, Entered: Unknown}, 61 * s, Unknown},
		{"ESTABLISHED", Seen{State: Established, Acked: s, Received: s}, Unknown, Unknown},
	} {
		if a, b := tc.seen.Lasting(); a != tc.atLeast || b != tc.atMost {
			t.Errorf("%s: at least %v, at most %v; want %v, %v", tc.name, a, b, tc.atLeast, tc.atMost)
		}
	}
}
