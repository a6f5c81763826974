// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"finwait/output/filter"
	"finwait/output/jsonl"
	"finwait/output/table"
	"finwait/tracer/event"
	"finwait/tracer/ports"
)

// socketsFlags are the flags as they were given.
type socketsFlags struct {
	lookFlags
	states []string
	older  time.Duration
	each   bool
}

func newSockets() *cobra.Command {
	var f socketsFlags
	cmd := &cobra.Command{
		Use:   "sockets",
		Short: "Who holds which connections now, in which state, and for how long at least",
		Long: `sockets lists the connections that exist, those that are older than finwait included:
one line for each state, process and service. It looks once and traces nothing.

CLOSE_WAIT comes first: the peer has closed, this host's program has not, and only the
program can end it. HELD BY is who has a descriptor of it. A socket does not keep when it
came to its state, so the time is in between: no segment that acknowledges anything has
come for as long as FOR AT LEAST, and the FIN had an acknowledgement; the last data came
AT MOST so long ago, and the FIN after it. Both are of the one that is there longest. The
answers to TCP keep-alive are acknowledgements as well: with it, AT LEAST says little at
the first look. With --watch, what an earlier look has found in the same state counts.

CLOSE is a connection that an RST or a timeout has ended, and whose descriptor the program
still has. ss does not show it: the kernel has taken it out of its tables.`,
		Example: `  sudo finwait sockets                             everything, what lasts first
  sudo finwait sockets --state CLOSE_WAIT          who does not close
  sudo finwait sockets --state CLOSE_WAIT --older 1m --each -p 812
  sudo finwait sockets --state CLOSE_WAIT --watch  does it grow?
  sudo finwait sockets -o json | jq -r .state | sort | uniq -c`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runSockets(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), f)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.output, "output", "o", "table", "table, wide or json (one record a socket)")
	fs.StringSliceVar(&f.states, "state", nil, "only these states, such as CLOSE_WAIT,FIN_WAIT2")
	fs.DurationVar(&f.older, "older", 0, "only sockets that have been in their state for at least this long")
	fs.BoolVar(&f.each, "each", false, "one line for each socket")
	f.registerOwner(fs)
	f.registerPorts(fs)
	f.registerNetwork(fs)
	f.registerLooks(fs, "time between the looks of --watch")
	return cmd
}

func (f *socketsFlags) check() error {
	f.view, f.maxSockets = "transitions", 1 // are not asked for here
	if err := f.liveFlags.check(); err != nil {
		return err
	}
	for i, name := range f.states {
		name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if s := event.ParseState(name); s == event.StateUnknown || s == event.Listen {
			return usage("--state %q: use a state of connections, such as CLOSE_WAIT", f.states[i])
		}
		f.states[i] = name
	}
	if f.older < 0 {
		return usage("--older %v: must not be negative", f.older)
	}
	if f.interval < 10*time.Millisecond {
		return usage("--interval %v: must be at least 10ms", f.interval)
	}
	return nil
}

// wants reports whether a socket is asked for.
func (f *socketsFlags) wants(flt *filter.Filter, s *event.Seen) bool {
	if atLeast, _ := s.Lasting(); f.older > 0 && atLeast < f.older {
		return false
	}
	return f.chosen(flt, s)
}

// chosen is wants for any age.
func (f *socketsFlags) chosen(flt *filter.Filter, s *event.Seen) bool {
	// In CLOSE, only what was a connection: an RST or a timeout has ended it, and its program has not.
	if s.State == event.Listen || s.State == event.Close && s.Peer.Port() == 0 || len(f.states) > 0 && !slices.Contains(f.states, s.State.String()) {
		return false
	}
	for _, p := range s.Owners {
		if flt.Socket(&s.Socket, p) {
			return true
		}
	}
	return len(s.Owners) == 0 && flt.Socket(&s.Socket, &event.Process{})
}

// known is a socket in a state.
type known struct {
	cookie, id uint64
	state      event.State
}

// remember tells each socket since when it has been known in its state, and returns that.
func remember(before map[known]int64, now *event.Look) map[known]int64 {
	after := make(map[known]int64, len(now.Sockets))
	for i := range now.Sockets {
		s := &now.Sockets[i]
		k := known{cookie: s.Cookie, state: s.State}
		if s.Cookie == 0 {
			k.id = s.ID
		}
		first, ok := before[k]
		if !ok {
			first = s.KTime
		}
		s.Watched = time.Duration(s.KTime - first)
		after[k] = first
	}
	return after
}

func runSockets(ctx context.Context, w, stderr io.Writer, f socketsFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	flt, log, v, err := f.openViewer(stderr)
	if err != nil {
		return err
	}
	defer v.Close()
	since := map[known]int64{}
	return v.each(ctx, &f.lookFlags, func(now *event.Look) (enough bool, err error) {
		ports.Roles(now)
		since = remember(since, now)
		var list []*event.Seen
		undecided := 0
		for i := range now.Sockets {
			if s := &now.Sockets[i]; f.wants(&flt, s) {
				list = append(list, s)
			} else if _, atMost := s.Lasting(); f.older > 0 && atMost >= f.older && f.chosen(&flt, s) {
				undecided++
			}
		}
		if undecided > 0 {
			log.Info().Int("sockets", undecided).Msg("may have been in their state for that long as well: an ACK has come since, from keep-alive perhaps; --watch will know")
		}
		return !f.watch, showSockets(w, &f, list)
	})
}

func showSockets(w io.Writer, f *socketsFlags, list []*event.Seen) error {
	out := newStdout(w)
	if f.output == "json" {
		j := jsonl.New(out, clock())
		for _, s := range list {
			if err := j.Seen(s); err != nil {
				return err
			}
		}
		return out.flush()
	}
	opt := table.Options{Wide: f.output == "wide", Header: !f.noHeader, Color: useColor(f.color, w)}
	if err := table.NewSockets(out, opt, f.each).Write(list); err != nil {
		return err
	}
	return out.flush()
}
