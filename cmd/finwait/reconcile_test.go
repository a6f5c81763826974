// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"finwait/tracer/event"
	"finwait/tracer/flow"
)

// TestLossDetails: a process or an errno that is missing makes no step doubtful; all else that
// the kernel side loses does.
func TestLossDetails(t *testing.T) {
	for _, tc := range []struct {
		loss  event.Loss
		doubt bool
	}{
		{event.Loss{Reason: event.LossRecursion, Details: true}, false},
		{event.Loss{Reason: event.LossRecursion}, true},
		{event.Loss{Reason: event.LossRingFull}, true},
		{event.Loss{Reason: event.LossBadRecord}, true},
		{event.Loss{Reason: event.LossMapFull}, false},
	} {
		r := reconciler{flow: flow.New(nil, flow.Options{})}
		tc.loss.KTime, tc.loss.Count = 7, 1
		r.loss(&tc.loss)
		if doubt := r.lost != 0; doubt != tc.doubt {
			t.Errorf("%+v: the picture is in doubt: %v, want %v", tc.loss, doubt, tc.doubt)
		}
	}
}
