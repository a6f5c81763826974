// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"finwait/output/jsonl"
	"finwait/output/trace"
	"finwait/tracer/event"
)

func newReplay() *cobra.Command {
	var f liveFlags
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Show a recorded trace, in every view, with every filter and output",
		Long: `replay shows what record, or finwait -o json, has written: the same rows that finwait
would have shown live. It reads .zst, .gz and plain files, whatever they are called; - is
standard input. The files of one recording follow each other; recordings, of one host or
of several, are merged in the order of time.

A trace that was cut off is shown up to its last whole line.`,
		Example: `  finwait replay incident.jsonl.zst
  finwait replay incident.jsonl.zst --closer local --view closes
  finwait replay web*.jsonl.zst -o json | jq .
  ssh web1 sudo finwait record -w - -d 30s | finwait replay -`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("replay needs a file: finwait replay incident.jsonl.zst; - is standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReplay(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), f, args)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	f.registerForm(fs)
	f.registerChoice(fs)
	f.registerCount(fs)
	f.registerStrict(fs)
	f.registerLooks(fs)
	f.registerLog(fs)
	return cmd
}

func runReplay(ctx context.Context, w, stderr io.Writer, f liveFlags, files []string) error {
	f.maxSockets = 1 // is not asked for here
	if err := f.check(); err != nil {
		return err
	}
	flt, err := f.filter()
	if err != nil {
		return err
	}
	log, err := newLogger(stderr, f.logLevel, f.logFormat, useColor(f.color, stderr))
	if err != nil {
		return err
	}
	m, err := trace.NewMerge(files)
	if err != nil {
		return err
	}
	defer m.Close()
	out := newScreen(w, &f, event.Clock{})
	p := newPlayer(m, newView(out, &f, flt), out)
	err = p.run(ctx)
	notes := 0
	if !errors.Is(err, errEnough) {
		for _, s := range m.Sources() {
			for _, note := range s.Notes() {
				notes++
				log.Warn().Msg(note)
			}
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	if ferr := out.out.flush(); !errors.Is(err, syscall.EPIPE) {
		err = errors.Join(err, ferr)
	}
	log.Info().Msg(p.totals())
	switch {
	case err != nil || !f.strict:
		return err
	case !p.end.Complete():
		return fmt.Errorf("%w: events were lost when this was recorded", errStrict)
	case notes > 0:
		return fmt.Errorf("%w: the recording is cut, or not all of it is here", errStrict)
	}
	return nil
}

// player hands the records of a merge to a view.
type player struct {
	*view
	merge   *trace.Merge
	out     *screen
	streams []*player1
	clock   event.Clock
	first   int64 // timestamps
	last    int64
	records int
}

// player1 is one recording's stream.
type player1 struct {
	*stream
	ktime int64 // of its last record
	open  bool  // no trace_end yet
}

func newPlayer(m *trace.Merge, v *view, out *screen) *player {
	p := &player{view: v, merge: m, out: out}
	for range m.Sources() {
		p.streams = append(p.streams, &player1{stream: v.stream()})
	}
	return p
}

// looks is how many records are replayed between looks at whether anybody still wants them.
const looks = 4096

func (p *player) run(ctx context.Context) error {
	err := p.play(ctx)
	p.end.Elapsed = time.Duration(p.last - p.first)
	if err != nil && !p.partial(err) {
		return err
	}
	// A trace that is cut still has closes that were over.
	for _, s := range p.streams {
		if s.open {
			p.cut = true
			err = errors.Join(err, s.flush(s.ktime))
		}
	}
	return err
}

// partial reports whether err is about the files: what was read of them is good.
func (p *player) partial(err error) bool {
	var at *jsonl.LineError
	return errors.As(err, &at)
}

func (p *player) play(ctx context.Context) error {
	for {
		rec, src, err := p.merge.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p.records++; p.records%looks == 0 {
			if ctx.Err() != nil {
				return nil
			}
			if err := p.out.out.flush(); err != nil {
				return err
			}
		}
		if rec.Clock != p.clock {
			p.clock = rec.Clock
			p.out.setClock(rec.Clock)
		}
		if p.first == 0 {
			p.first = rec.Wall()
		}
		p.last = max(p.last, rec.Wall())
		s := p.streams[src.Index]
		s.ktime, s.open = max(s.ktime, rec.KTime), true
		if err := rec.Hand(s); err != nil {
			return err
		}
	}
}

// End is where a recording is over; its totals join those of the others.
func (s *player1) End(e *event.End) error {
	s.open = false
	s.view.end.Born += e.Born
	s.view.end.Open += e.Open
	s.view.end.PickedUp += e.PickedUp
	s.view.end.Kernel = append(s.view.end.Kernel, e.Kernel...)
	return s.conclude(e)
}
