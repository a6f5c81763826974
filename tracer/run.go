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

func (t *Tracer) read(ctx context.Context, h Handler) error {
	var (
		rec   ringbuf.Record
		s     event.Sample
		n     int
		losss = time.Now()
	)
	for ctx.Err() == nil {
		// An emptied ring is complete up to the present. In a burst, only what has been
		// read is known: the ring may hold more that is older than now.
		complete := int64(0)
		t.reader.SetDeadline(time.Now().Add(flushEvery))
		for n = 0; n < burst; n++ {
			err := t.reader.ReadInto(&rec)
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, ringbuf.ErrFlushed) {
				complete = Now()
				break
			}
			if err != nil {
				return fmt.Errorf("read the ring: %w", err)
			}
			if err := t.hand(rec.RawSample, &s, h); err != nil {
				return err
			}
		}
		if complete == 0 {
			complete = t.newest
		}
		if err := h.Advance(complete); err != nil {
			return err
		}
		if time.Since(losss) >= lossEvery {
			losss = time.Now()
			if err := t.reportLosses(h); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Tracer) hand(raw []byte, s *event.Sample, h Handler) error {
	if t.opt.Tap != nil {
		t.opt.Tap(raw)
	}
	if err := Decode(raw, s); err != nil {
		t.losses.badRecords++
		return nil
	}
	t.newest = max(t.newest, s.KTime)
	return h.Sample(s)
}

// finish is the orderly end. A handler that has failed is not called again.
func (t *Tracer) finish(h Handler, failed error) error {
	var rec ringbuf.Record
	var s event.Sample
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
		err := t.reader.ReadInto(&rec)
		if errors.Is(err, ringbuf.ErrFlushed) {
			continue
		}
		if err != nil {
			break
		}
		if err := t.hand(rec.RawSample, &s, h); err != nil {
			return err
		}
	}
	if err := h.Advance(Now()); err != nil {
		return err
	}
	return t.reportLosses(h)
}
