// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
)

// eyes look at sockets in the kernel; a Tracer has them.
type eyes interface {
	Look(sock, cookie uint64) (bool, error)
	TimeWaits() []event.Sample
}

// reconciler makes the picture whole again after a loss: what the flow still knows and the
// kernel does not any more is ended, and TIME_WAITs that the flow does not know are added.
type reconciler struct {
	flow *flow.Flow
	eyes eyes

	lost   int64 // ktime of the last loss that is not made up for; 0 none
	began  int64 // ktime at which the last reconciliation began
	covers int64 // the loss that the one under way makes up for; 0 none is
	doubts []flow.Doubt
	gone   []flow.Doubt
	looked int64 // ktime of the last look
}

const (
	calm    = time.Second      // without losses, before it is worth while
	always  = 30 * time.Second // where there never is such a second
	glances = 4096             // sockets looked at between two readings of the ring
)

// loss notes that samples are missing.
func (r *reconciler) loss(l *event.Loss) {
	if l.Details {
		return
	}
	switch l.Reason {
	case event.LossRingFull, event.LossRecursion, event.LossBadRecord:
		r.flow.Lossy()
		r.lost = l.KTime
	}
}

// advance goes on, a portion at a time; the flow has been advanced to ktime.
func (r *reconciler) advance(ktime int64) error {
	switch {
	case r.covers == 0:
		if r.lost == 0 || ktime-r.lost < int64(calm) && ktime-r.began < int64(always) {
			return nil
		}
		return r.begin(ktime)
	case len(r.doubts) > 0:
		return r.look()
	case r.flow.Settled() <= r.looked:
		return nil // what happened before the look is still on its way
	}
	for _, d := range r.gone {
		if err := r.flow.Ended(d, r.looked); err != nil {
			return err
		}
	}
	if r.lost == r.covers {
		r.lost = 0
		r.flow.Whole()
	}
	r.covers, r.gone = 0, nil
	return nil
}

func (r *reconciler) begin(ktime int64) error {
	r.began, r.covers, r.looked = ktime, r.lost, tracer.Now()
	seen := r.eyes.TimeWaits()
	for i := range seen {
		if err := r.flow.Sample(&seen[i]); err != nil {
			return err
		}
	}
	r.doubts = r.flow.Doubts()
	return nil
}

func (r *reconciler) look() error {
	n := min(len(r.doubts), glances)
	for _, d := range r.doubts[:n] {
		there, err := r.eyes.Look(d.Sock, d.Cookie)
		if err != nil {
			// This kernel cannot tell: what is known stays, and stays in doubt.
			r.doubts, r.gone, r.covers, r.lost = nil, nil, 0, 0
			return nil
		}
		if !there {
			r.gone = append(r.gone, d)
		}
	}
	r.doubts, r.looked = r.doubts[n:], tracer.Now()
	return nil
}
