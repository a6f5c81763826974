// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/spf13/cobra"

	"finwait/output/filter"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
	"finwait/tracer/proc"
	"finwait/tracer/workload"
)

// forms are the views and outputs that live and replay must agree on, by the flags that
// ask for them.
var forms = map[string][]string{
	"table":       {"--utc"},
	"wide":        {"--utc", "-o", "wide"},
	"closes":      {"--utc", "--view", "closes"},
	"closes-wide": {"--utc", "--view", "closes", "-o", "wide"},
	"closes-json": {"--view", "closes", "-o", "json"},
	"json":        {"-o", "json"},
	"local":       {"--utc", "--closer", "local", "-4"},
	"linger0":     {"-o", "json", "--method", "linger0"},
	"client":      {"--utc", "--comm", "demo-client", "-D", "8080", "--no-header"},
}

// tee is an outlet that records, and shows the same records in every form.
type tee struct {
	outlet
	t       *testing.T
	shown   map[string]*bytes.Buffer
	streams map[string]*stream
	screens []*screen

	session *session
	asked   chan moment
	pending *moment
	ended   chan struct{}
	err     error
	stop    context.CancelFunc
}

// moment is reached when everything before `after` has come out, and met holds.
type moment struct {
	after int64
	met   func() bool
	done  chan struct{}
}

// teeLab traces a lab into files, as finwait record with these flags would, and live.
func teeLab(t *testing.T, ctx context.Context, lab *workload.Lab, args ...string) *tee {
	t.Helper()
	cmd := &cobra.Command{}
	f := recordFlags{liveFlags: liveFlags{output: "json", view: "transitions"}}
	f.register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if err := f.checkRecord(); err != nil {
		t.Fatal(err)
	}
	tr, err := tracer.Open(tracer.Options{Filter: tracer.Filter{NetNS: lab.NetNS()}})
	if err != nil {
		t.Fatal(err)
	}
	tick, err := tracer.Tick()
	if err != nil {
		t.Fatal(err)
	}
	start := describe(tr, tick)
	r := &tee{
		t: t, outlet: newRecorder(&f, start), shown: map[string]*bytes.Buffer{}, streams: map[string]*stream{},
		asked: make(chan moment), ended: make(chan struct{}),
	}
	for name, args := range forms {
		f, flt := formOf(t, args)
		var b bytes.Buffer
		s := newScreen(&b, &f, start.Clock)
		r.shown[name], r.streams[name] = &b, newView(s, &f, flt).stream()
		r.screens = append(r.screens, s)
	}
	x := newSession(newView(r, &f.liveFlags, filter.Filter{}), tr, start, flow.Options{Namer: proc.New("/proc")}, tracer.Filter{}, r.advance)
	r.session = x
	if err := errors.Join(r.begin(x, start), x.stream.Start(start)); err != nil {
		t.Fatal(err)
	}
	ctx, r.stop = context.WithCancel(ctx)
	go func() {
		defer close(r.ended)
		err := tr.Run(ctx, x)
		r.err = conclude(tr, x, r, true, err, func(line string) { t.Log(line) })
	}()
	t.Cleanup(func() { r.stop(); <-r.ended; tr.Close() })
	return r
}

func formOf(t *testing.T, args []string) (liveFlags, filter.Filter) {
	t.Helper()
	f := parseFlags(t, args...)
	flt, err := f.filter()
	if err != nil {
		t.Fatal(err)
	}
	return f, flt
}

// each hands a record to every form.
func (r *tee) each(err error, hand func(*stream) error) error {
	for _, s := range r.streams {
		err = errors.Join(err, hand(s))
	}
	return err
}

func (r *tee) Transition(t *event.Transition) error {
	return r.each(r.outlet.Transition(t), func(s *stream) error { return s.Transition(t) })
}

func (r *tee) ConnectError(e *event.ConnectError) error {
	return r.each(r.outlet.ConnectError(e), func(s *stream) error { return s.ConnectError(e) })
}

func (r *tee) Release(e *event.Release) error {
	return r.each(r.outlet.Release(e), func(s *stream) error { return s.Release(e) })
}

func (r *tee) Loss(l *event.Loss) error {
	return r.each(r.outlet.Loss(l), func(s *stream) error { return s.Loss(l) })
}

func (r *tee) Start(e *event.Start) error {
	return r.each(r.outlet.(traceSink).Start(e), func(s *stream) error { return s.Start(e) })
}

func (r *tee) End(e *event.End) error {
	return r.each(r.outlet.(traceSink).End(e), func(s *stream) error { return s.conclude(e) })
}

func (r *tee) advance(ktime int64) error {
	if r.pending == nil {
		select {
		case q := <-r.asked:
			r.pending = &q
		default:
		}
	}
	if q := r.pending; q != nil && ktime-int64(60e6) > q.after && (q.met == nil || q.met()) {
		close(q.done)
		r.pending = nil
	}
	return r.outlet.advance(ktime)
}

// settled waits until everything that has happened so far has come out, and met holds.
func (r *tee) settled(met func() bool) {
	r.t.Helper()
	q := moment{after: tracer.Now(), met: met, done: make(chan struct{})}
	for _, step := range []func() bool{
		func() bool {
			select {
			case r.asked <- q:
				return true
			case <-r.ended:
				return false
			}
		},
		func() bool {
			select {
			case <-q.done:
				return true
			case <-r.ended:
				return false
			}
		},
	} {
		if !step() {
			r.t.Fatalf("the trace ended before it came to the expected point: %v", r.err)
		}
	}
}

// finish ends the trace, and returns what live showed.
func (r *tee) finish() map[string]string {
	r.t.Helper()
	r.stop()
	<-r.ended
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		r.t.Fatal(r.err)
	}
	shown := map[string]string{}
	for _, s := range r.screens {
		if err := s.out.flush(); err != nil {
			r.t.Fatal(err)
		}
	}
	for name, b := range r.shown {
		shown[name] = b.String()
	}
	return shown
}
