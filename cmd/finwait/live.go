// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
	"finwait/tracer/proc"
)

// runLive traces to the screen.
func runLive(ctx context.Context, w, stderr io.Writer, f liveFlags) error {
	return watch(ctx, stderr, f, func(start *event.Start) (outlet, error) {
		return newScreen(w, &f, start.Clock), nil
	})
}

// watch traces until ctx ends, the time or the count is reached, or nobody reads. The
// outlet is made once everything is attached.
func watch(ctx context.Context, stderr io.Writer, f liveFlags, open func(*event.Start) (outlet, error)) error {
	if err := f.check(); err != nil {
		return err
	}
	flt, err := f.filter()
	if err != nil {
		return err
	}
	opt, err := f.options(&flt)
	if err != nil {
		return err
	}
	log, err := newLogger(stderr, f.logLevel, f.logFormat, useColor(f.color, stderr))
	if err != nil {
		return err
	}
	tick, err := tracer.Tick()
	if err != nil {
		return err
	}
	t, err := tracer.Open(opt)
	if err != nil {
		return err
	}
	defer t.Close()
	logStart(log, t)

	start := describe(t, tick)
	out, err := open(start)
	if err != nil {
		return err
	}
	namer := proc.New("/proc")
	x := newSession(newView(out, &f, flt), t, start, flow.Options{Namer: namer}, opt.Filter, out.advance)
	err = out.begin(x, start)
	if err == nil {
		err = x.Start(start)
	}
	if err == nil {
		err = giveUp(log, t, namer, out, f.keep)
	}
	if err != nil {
		return errors.Join(err, out.close())
	}
	if f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	if f.readyFile != "" {
		if err := touch(f.readyFile); err != nil {
			return errors.Join(fmt.Errorf("create the ready file: %w", err), out.close())
		}
	}
	err = t.Run(ctx, x)
	return conclude(t, x, out, f.strict, err, func(line string) { log.Info().Msg(line) })
}

// touch makes an empty file; never through a symbolic link.
func touch(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// conclude ends a session: totals come out whatever happened, and the first cause of
// the end decides the exit status.
func conclude(t *tracer.Tracer, x *session, out outlet, strict bool, cause error, say func(string)) error {
	if errors.Is(cause, errEnough) {
		cause = nil
	}
	counters, err := t.Counters()
	cause = errors.Join(cause, err)
	gone := errors.Is(cause, syscall.EPIPE)
	for _, end := range []func() error{func() error { return x.finish(counters.PickedUp) }, out.close} {
		if err := end(); err != nil && !(gone && errors.Is(err, syscall.EPIPE)) {
			cause = errors.Join(cause, err)
		}
	}
	say(x.totals())
	if cause != nil || !strict {
		return cause
	}
	var missing []string
	for _, h := range t.Hooks() {
		if h.Attached == "" {
			missing = append(missing, h.Name)
		}
	}
	switch {
	case !x.end.Complete():
		return fmt.Errorf("%w: events were lost; enlarge --ring-size or --max-sockets, or narrow the filters", errStrict)
	case len(missing) > 0:
		return fmt.Errorf("%w: hooks not attached: %s; finwait doctor tells why", errStrict, strings.Join(missing, ", "))
	}
	return nil
}

// describe gathers what the first record of a trace says.
func describe(t *tracer.Tracer, tick time.Duration) *event.Start {
	now := tracer.Now()
	seed := t.Seed()
	s := &event.Start{
		KTime: now, Clock: event.Clock{Offset: time.Now().UnixNano() - now},
		Version: version(), CommandLine: os.Args, Arch: runtime.GOARCH, Tick: tick,
		Probe: t.Probe().String(), Sockets: seed.Sockets, TimeWaits: seed.TimeWaits,
	}
	s.Host, _ = os.Hostname()
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		s.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.BootID = strings.TrimSpace(string(b))
	}
	if err := t.FentryError(); err != nil {
		s.ProbeReason = err.Error()
	}
	for _, h := range t.Hooks() {
		hook := event.Hook{Name: h.Name, Attached: h.Attached}
		if h.Attached == "" {
			hook.Lost = h.Lost
			if err := errors.Join(h.Errs...); err != nil {
				hook.Error = err.Error()
			}
		}
		s.Hooks = append(s.Hooks, hook)
	}
	for _, ns := range seed.Namespaces {
		s.Namespaces = append(s.Namespaces, event.Namespace{Inode: ns.Inode, Settings: ns.Settings})
	}
	return s
}
