// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/pflag"

	"finwait/output/filter"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/proc"
)

// viewer makes repeated looks at the sockets of this host.
type viewer struct {
	*tracer.Lister
	namer  *proc.Namer
	netns  uint32
	log    zerolog.Logger
	warned bool
}

// lookFlags are the flags of the commands that look at sockets, once or again and again.
type lookFlags struct {
	liveFlags
	interval time.Duration
	watch    bool
}

// registerLooks has what they share, but for whose sockets; interval says what that is for.
func (f *lookFlags) registerLooks(fs *pflag.FlagSet, interval string) {
	fs.DurationVarP(&f.interval, "interval", "i", time.Second, interval)
	fs.BoolVar(&f.watch, "watch", false, "go on until Ctrl-C, one table for each interval")
	fs.DurationVarP(&f.duration, "duration", "d", 0, "stop --watch after this long, such as 30s")
	fs.BoolVar(&f.noHeader, "no-header", false, "no heading over the table")
	registerTypes(fs, &f.btf)
	f.registerColor(fs)
	f.registerLog(fs)
}

// openViewer also returns what the flags say of filters and of the log.
func (f *liveFlags) openViewer(stderr io.Writer) (flt filter.Filter, log zerolog.Logger, v *viewer, err error) {
	if flt, err = f.filter(); err != nil {
		return flt, log, nil, err
	}
	if log, err = newLogger(stderr, f.logLevel, f.logFormat, useColor(f.color, stderr)); err != nil {
		return flt, log, nil, err
	}
	l, err := tracer.OpenLister(f.btf)
	if err != nil {
		return flt, log, nil, err
	}
	return flt, log, &viewer{Lister: l, namer: proc.New("/proc"), netns: flt.NetNS, log: log}, nil
}

// look lists what is there now. What could not be listed is said once.
func (v *viewer) look() (*event.Look, error) {
	now, err := v.Look(v.netns)
	if err != nil {
		return nil, err
	}
	if len(now.Namespaces) == 0 {
		err := errors.Join(now.Errs...)
		if err == nil {
			err = fmt.Errorf("no process is in network namespace %d, and it is mounted nowhere: nobody can enter it", v.netns)
		}
		return nil, fmt.Errorf("look at the sockets: %w", err)
	}
	if !v.warned {
		for _, err := range now.Errs {
			v.log.Warn().Err(err).Msg("not everything could be listed")
		}
		v.warned = len(now.Errs) > 0
	}
	for i := range now.Sockets {
		for _, p := range now.Sockets[i].Owners {
			if p.Cgroup == "" && p.Exe == "" {
				v.namer.Name(p, now.Sockets[i].Cgroup)
			}
		}
	}
	return now, nil
}

// each has one look after the other shown, an interval apart, until show says that it is
// enough or, with --watch, until the time is over.
func (v *viewer) each(ctx context.Context, f *lookFlags, show func(now *event.Look) (enough bool, err error)) error {
	if f.watch && f.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.duration)
		defer cancel()
	}
	for {
		now, err := v.look()
		if err != nil {
			return err
		}
		if enough, err := show(now); enough || err != nil {
			return err
		}
		if !v.pause(ctx, now, f.interval) {
			if f.watch {
				return nil
			}
			return fmt.Errorf("wait for the second look: %w", context.Cause(ctx))
		}
	}
}

// pause waits until an interval after the beginning of a look; false when ctx ends.
func (v *viewer) pause(ctx context.Context, last *event.Look, interval time.Duration) bool {
	wait := time.NewTimer(interval - time.Duration(tracer.Now()-last.KTime))
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wait.C:
		return true
	}
}

// clock turns the times of a look into those of the day.
func clock() event.Clock {
	return event.Clock{Offset: time.Now().UnixNano() - tracer.Now()}
}
