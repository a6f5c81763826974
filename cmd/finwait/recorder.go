// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"finwait/output/jsonl"
	"finwait/output/trace"
	"finwait/tracer/event"
)

// recorder is the outlet that writes a recording, in one file or in parts.
type recorder struct {
	*jsonl.Writer // of records, to the recorder's own Write
	parts         *trace.Parts
	file          *trace.Writer
	every         time.Duration // between flushes
	session       *session
	start         event.Start
	before        event.End // totals when the current part began
	began         int64     // ktime at which it did
	flushed       int64     // ktime
	failed        bool      // an error has been told: what follows is dropped in silence

	progress io.Writer // nil: nobody looks
	shown    int64     // ktime of the last progress line
	lines    uint64    // events shown then
	size     int64     // of the parts that are complete
}

func newRecorder(f *recordFlags, start *event.Start) *recorder {
	r := &recorder{parts: trace.NewParts(f.file, f.rotation, f.force), every: f.flushEvery}
	r.Writer = jsonl.New(r, start.Clock)
	return r
}

// begin makes the first file. The session then writes trace_start, by Start.
func (r *recorder) begin(x *session, start *event.Start) (err error) {
	r.session, r.start = x, *start
	r.began, r.flushed, r.shown = start.KTime, start.KTime, start.KTime
	r.before.Lost = map[event.LossReason]uint64{}
	r.file, err = r.parts.Next()
	if err != nil {
		return err
	}
	r.start.Part = event.Part{Number: r.parts.Number(), Began: start.KTime}
	if r.start.Part.Number == 0 {
		r.start.Part.Began = 0
	}
	return nil
}

// Start writes trace_start; of a part that is not the first, too.
func (r *recorder) Start(*event.Start) error {
	if err := r.Writer.Start(&r.start); err != nil {
		return err
	}
	return r.flush(r.began)
}

// Write takes a line from the Writer.
func (r *recorder) Write(line []byte) (int, error) {
	if r.failed {
		return len(line), nil
	}
	n, err := r.file.Write(line)
	return n, r.told(err)
}

// told remembers that there was an error: the session hears of it once.
func (r *recorder) told(err error) error {
	r.failed = r.failed || err != nil
	return err
}

func (r *recorder) flush(ktime int64) error {
	if r.failed {
		return nil
	}
	r.flushed = ktime
	return r.told(r.file.Flush())
}

// advance flushes, goes on in another file, and shows how it goes, each when it is time to.
func (r *recorder) advance(ktime int64) error {
	var err error
	if ktime-r.flushed >= int64(r.every) {
		err = r.flush(ktime)
	}
	if err == nil && !r.failed && r.parts.Due(time.Duration(ktime-r.began)) {
		err = r.rotate(ktime)
	}
	if ktime-r.shown >= int64(time.Second) {
		r.show(ktime)
	}
	return err
}

// rotate ends one part and begins the next: each is a whole trace.
func (r *recorder) rotate(ktime int64) error {
	so := r.session.soFar(ktime)
	if err := r.endPart(&so); err != nil {
		return err
	}
	if err := r.file.Close(); err != nil {
		return r.told(err)
	}
	r.size += r.file.Size()
	var err error
	if r.file, err = r.parts.Next(); err != nil {
		r.file = nil
		return r.told(err)
	}
	r.before, r.began = so, ktime
	r.start.KTime, r.start.Part.Number = ktime, r.parts.Number()
	return r.Start(nil)
}

// End writes the last trace_end.
func (r *recorder) End(e *event.End) error { return r.endPart(e) }

// endPart writes what the totals are since the current part began.
func (r *recorder) endPart(total *event.End) error {
	e := *total
	e.Elapsed = time.Duration(e.KTime - r.began)
	e.Transitions -= r.before.Transitions
	e.Closes -= r.before.Closes
	e.Errors -= r.before.Errors
	e.Born -= r.before.Born
	e.Lost = map[event.LossReason]uint64{}
	for reason, n := range total.Lost {
		e.Lost[reason] = n - r.before.Lost[reason]
	}
	return r.Writer.End(&e)
}

func (r *recorder) close() error {
	if r.progress != nil {
		fmt.Fprint(r.progress, "\r\x1b[K")
	}
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	if r.failed {
		return nil
	}
	return r.told(err)
}

// show writes the progress line over the one before.
func (r *recorder) show(ktime int64) {
	if r.progress == nil || r.file == nil {
		return
	}
	e := &r.session.end
	var lost uint64
	for _, n := range e.Lost {
		lost += n
	}
	rate := float64(e.Transitions-r.lines) / time.Duration(ktime-r.shown).Seconds()
	r.shown, r.lines = ktime, e.Transitions
	elapsed := time.Duration(ktime - r.session.began).Truncate(time.Second)
	line := fmt.Sprintf("%s  %d events, %.0f/s  %s  lost %d", elapsed, e.Transitions, rate, trace.Bytes(r.size+r.file.Size()), lost)
	if n := r.parts.Number(); n > 0 {
		line += fmt.Sprintf("  file %d", n)
	}
	fmt.Fprintf(r.progress, "\r%s\x1b[K", line)
}

var _ outlet = (*recorder)(nil)
