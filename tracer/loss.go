// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"slices"

	"finwait/tracer/event"
)

// Indices into the kernel side's counters; enum counter in bpf/event.h.
const (
	countEvents = iota
	countRingFull
	countMapFull
	countStateAgain
	countDestroyAgain
	countDropAgain
	countAcceptAgain
)

// Programs that come twice: what the first instance missed, the second picked up and counted.
var twins = []struct {
	first, second string
	pickedUp      uint32
}{
	{"on_state", "on_state_again", countStateAgain},
	{"on_destroy", "on_destroy_again", countDestroyAgain},
	{"on_drop", "on_drop_again", countDropAgain},
	{"on_fd_install", "on_fd_install_again", countAcceptAgain},
}

// losses remembers what has been reported, so that each loss is reported once.
type losses struct {
	badRecords uint64
	reported   map[event.LossReason]uint64
	last       int64
	details    uint64 // of the recursion misses reported
	spoiled    bool   // a bad record came since the last report
}

// details are the programs that no step of a socket depends on, beside the twins of
// fd_install: what they miss costs a name or an errno. They run in the caller's context, where an fentry program can be preempted:
// it is then skipped for whatever another task does meanwhile on that CPU, mostly with
// descriptors that are no sockets and connects that do not fail. So their misses are an
// upper bound.
var details = []string{"on_hash_connect", "on_hash_connect6", "on_sys_exit", "on_uring_cqe", "on_uring_res"}

// Counters are the kernel side's totals since the start of the trace.
type Counters struct {
	Events   uint64                      // records handed to the ring
	PickedUp uint64                      // events that interrupted a program and were picked up by its second instance
	Skipped  map[string]uint64           // recursion misses by program, as the kernel counts them
	Ran      map[string]uint64           // runs by program; 0 unless BPF statistics are on
	Lost     map[event.LossReason]uint64 // what is missing; every kernel-side reason is present, at zero too
	Details  uint64                      // of Lost[event.LossRecursion]: those that cost no step of a socket
}

// sum adds a counter up over all CPUs.
func (t *Tracer) sum(i uint32) (total uint64, err error) {
	var per []uint64
	if err := t.objects.maps["counters"].Lookup(i, &per); err != nil {
		return 0, fmt.Errorf("read counter %d: %w", i, err)
	}
	for _, n := range per {
		total += n
	}
	return total, nil
}

// ringLost reports whether the ring has lost more than was reported. Asked before samples are
// judged, it makes sure that none is judged as if nothing before it were missing.
func (t *Tracer) ringLost() bool {
	n, err := t.sum(countRingFull)
	return err == nil && n > t.losses.reported[event.LossRingFull]
}

// Counters reads the kernel side's totals.
func (t *Tracer) Counters() (Counters, error) {
	c := Counters{Skipped: map[string]uint64{}, Ran: map[string]uint64{}, Lost: map[event.LossReason]uint64{}}
	sum := t.sum
	var err error
	if c.Events, err = sum(countEvents); err != nil {
		return c, err
	}
	if c.Lost[event.LossRingFull], err = sum(countRingFull); err != nil {
		return c, err
	}
	if c.Lost[event.LossMapFull], err = sum(countMapFull); err != nil {
		return c, err
	}
	c.Lost[event.LossBadRecord] = t.losses.badRecords
	for name, p := range t.objects.programs {
		stats, err := p.Stats()
		if err != nil {
			return c, fmt.Errorf("read recursion misses of %s: %w", name, err)
		}
		c.Skipped[name], c.Ran[name] = stats.RecursionMisses, stats.RunCount
	}
	c.Lost[event.LossRecursion] = 0
	done := map[string]bool{}
	for _, tw := range twins {
		pickedUp, err := sum(tw.pickedUp)
		if err != nil {
			return c, err
		}
		c.PickedUp += pickedUp
		done[tw.first], done[tw.second] = true, true
		// What the first instance missed and the second did not pick up is lost. The
		// second's own misses are not: they fall where the first one was free.
		missed := c.Skipped[tw.first]
		if tw.pickedUp == countAcceptAgain {
			// Most descriptors are no sockets, and nobody has to pick them up: what can be
			// lost is what both missed.
			c.Details += min(missed, c.Skipped[tw.second])
		} else if missed > pickedUp {
			c.Lost[event.LossRecursion] += missed - pickedUp
		}
	}
	for name, missed := range c.Skipped {
		switch {
		case done[name]:
		case slices.Contains(details, name):
			c.Details += missed
		default:
			c.Lost[event.LossRecursion] += missed
		}
	}
	c.Lost[event.LossRecursion] += c.Details
	return c, nil
}

// reportLosses hands over what was lost since the last report.
func (t *Tracer) reportLosses(h Handler) error {
	c, err := t.Counters()
	if err != nil {
		return err
	}
	if t.losses.reported == nil {
		t.losses.reported = map[event.LossReason]uint64{}
	}
	t.losses.spoiled = false
	now := Now()
	for _, reason := range event.LossReasons {
		n := c.Lost[reason]
		if before := t.losses.reported[reason]; n > before {
			t.losses.reported[reason] = n
			l := event.Loss{KTime: now, Since: t.losses.last, Reason: reason, Count: n - before}
			if reason == event.LossRecursion {
				l.Details = n-before == c.Details-t.losses.details
				t.losses.details = c.Details
			}
			if err := h.Lost(l); err != nil {
				return err
			}
		}
	}
	t.losses.last = now
	return nil
}
