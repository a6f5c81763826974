// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"finwait/tracer/event"
)

// Handler receives what a [Tracer] reads. Its methods run on Run's goroutine; a
// sample is valid until the call returns. An error ends Run, which returns it.
type Handler interface {
	// Sample is called for each sample, in the order of the ring: nearly, not
	// exactly, the order of time.
	Sample(*event.Sample) error
	// Advance says that every sample older than ktime (CLOCK_MONOTONIC, ns) has
	// been handed over. It is called every few tens of milliseconds.
	Advance(ktime int64) error
	// Lost is called when something was lost since the last call.
	Lost(event.Loss) error
}

const (
	// The kernel side wakes the reader only when much is waiting; else it looks itself.
	flushEvery = 40 * time.Millisecond
	// An emptied ring is left alone for a while: waiting for it would be over at once under
	// load, for one record. These are the bounds; in between it is as long as it takes to
	// fill an eighth of the ring at fillRate.
	leastPause, mostPause = time.Millisecond, 20 * time.Millisecond
	// fillRate is how fast a ring fills at the worst, in bytes a second: 40,000 connections.
	fillRate = 52 << 20
	// Losses are read this often, and at the end.
	lossEvery = time.Second
	// A long burst is handed on in portions of this many samples.
	burst = 2048
)

// Run reads until ctx ends or the handler returns an error, then detaches, drains what
// the kernel had already handed over, and reads the final losses: nothing is left behind.
func (t *Tracer) Run(ctx context.Context, h Handler) error {
	stop := context.AfterFunc(ctx, func() { t.reader.Flush() })
	defer stop()
	for i := range t.seen {
		if err := h.Sample(&t.seen[i]); err != nil {
			return err
		}
	}
	t.seen = nil
	err := t.read(ctx, h)
	return errors.Join(err, t.finish(h, err))
}

// pause is how long an emptied ring of a size is left alone.
func pause(ring uint32) time.Duration {
	return min(max(time.Duration(ring)*time.Second/fillRate/8, leastPause), mostPause)
}

func (t *Tracer) read(ctx context.Context, h Handler) error {
	pause := pause(t.opt.RingBytes)
	losss := time.Now()
	rest := time.NewTimer(0)
	defer rest.Stop()
	for ctx.Err() == nil {
		emptied, err := t.portion(h)
		if err != nil {
			return err
		}
		// An emptied ring is complete up to the present. In a burst, only what has been
		// read is known: the ring may hold more that is older than now.
		complete := t.newest
		if emptied != 0 {
			complete = emptied
		}
		// First what is missing, then what that may change.
		if t.ringLost() || t.losses.spoiled {
			losss = time.Time{}
		}
		if time.Since(losss) >= lossEvery {
			losss = time.Now()
			if err := t.reportLosses(h); err != nil {
				return err
			}
		}
		if err := h.Advance(complete); err != nil {
			return err
		}
		if emptied != 0 {
			rest.Reset(pause)
			select {
			case <-rest.C:
			case <-ctx.Done():
			}
		}
	}
	return nil
}

// portion waits for records for a while and hands over what there is, up to a burst. If it
// emptied the ring, it returns a moment up to which nothing is left in it; else 0.
func (t *Tracer) portion(h Handler) (emptied int64, err error) {
	t.reader.SetDeadline(time.Now().Add(flushEvery))
	for range burst {
		err := t.reader.ReadInto(&t.record)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
			return Now(), nil
		}
		if err != nil {
			return 0, fmt.Errorf("read the ring: %w", err)
		}
		if err := t.hand(t.record.RawSample, &t.sample, h); err != nil {
			return 0, err
		}
		if t.record.Remaining == 0 {
			now := Now()
			if t.reader.AvailableBytes() == 0 {
				return now, nil
			}
		}
	}
	return 0, nil
}

func (t *Tracer) hand(raw []byte, s *event.Sample, h Handler) error {
	if t.opt.Tap != nil {
		t.opt.Tap(raw)
	}
	if err := Decode(raw, s); err != nil {
		t.losses.badRecords++
		t.losses.spoiled = true
		return nil
	}
	t.newest = max(t.newest, s.KTime)
	return h.Sample(s)
}

// finish is the orderly end. A handler that has failed is not called again.
func (t *Tracer) finish(h Handler, failed error) error {
	if w, ok := h.(Witness); ok && failed == nil {
		w.Witness(t.readings())
	}
	if err := t.objects.detach(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	if failed != nil {
		return nil
	}
	t.reader.SetDeadline(time.Now())
	for {
		err := t.reader.ReadInto(&t.record)
		if errors.Is(err, ringbuf.ErrFlushed) {
			continue
		}
		if err != nil {
			break
		}
		if err := t.hand(t.record.RawSample, &t.sample, h); err != nil {
			return err
		}
	}
	if err := t.reportLosses(h); err != nil {
		return err
	}
	return h.Advance(Now())
}
