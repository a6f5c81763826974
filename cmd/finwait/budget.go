// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"finwait/output/filter"
	"finwait/output/jsonl"
	"finwait/output/table"
	"finwait/tracer/event"
	"finwait/tracer/ports"
)

// budgetFlags are the flags as they were given.
type budgetFlags struct{ lookFlags }

func newBudget() *cobra.Command {
	var f budgetFlags
	cmd := &cobra.Command{
		Use:   "budget",
		Short: "How many local ports are left to each peer, who holds them, and for how long they last",
		Long: `budget is for connect() that fails with "cannot assign requested address". A connection
that this host opens needs a local port that is free towards that very peer address and
port. For each of these pairs budget shows the connections by state, how many ports are
left, how fast they are taken and come back, and when connect() will fail at that rate.

It looks at all sockets twice, --interval apart, and traces nothing. NEW/S and BACK/S are
the connections that came and that went between the two looks, told apart by their socket
cookies; one that came and went in between held no port at either look and is in neither,
only in the kernel's own count of connects, which is shown beside them.

LEFT is what connect() can have: ip_local_port_range, less ip_local_reserved_ports, less
the ports of these connections, less the ports that bind() or listen() holds (connect()
passes over those whatever the peer), and with the TIME_WAITs that tcp_tw_reuse lets it
take over at this moment. EXHAUSTED assumes that the rate stays: the expiry of each
TIME_WAIT is known, each new one comes back after a minute, and what stays open does not.

HELD BY are the processes that have a descriptor of the connections now. A TIME_WAIT has
none: whoever closed it let go of it. A range that a socket has set for itself with
IP_LOCAL_PORT_RANGE cannot be seen. Connections from a peer to a server here spend no
port and are not counted, also where the server listens inside the range.`,
		Example: `  sudo finwait budget                       every peer, those with the fewest ports left first
  sudo finwait budget -D 8080               towards port 8080, wherever it is
  sudo finwait budget --pid 812 --watch     the peers of a process, again every second
  sudo finwait budget -o json | jq -c 'select(.left < 1000) | [.peer, .left, .states]'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runBudget(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), f)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.output, "output", "o", "table", "table, wide or json (one record a line)")
	f.registerOwner(fs)
	fs.StringVarP(&f.peerPort, "peer-port", "D", "", "only this port of the peer, or range N-M")
	f.registerNetwork(fs)
	f.registerLooks(fs, "time between the looks; 0 looks once, and shows no rates")
	return cmd
}

func (f *budgetFlags) check() error {
	f.view, f.maxSockets = "transitions", 1 // are not asked for here
	if err := f.liveFlags.check(); err != nil {
		return err
	}
	if f.interval < 0 || f.interval > 0 && f.interval < 10*time.Millisecond {
		return usage("--interval %v: use 0, or at least 10ms", f.interval)
	}
	if f.watch && f.interval == 0 {
		return usage("--watch needs an --interval")
	}
	return nil
}

func runBudget(ctx context.Context, w, stderr io.Writer, f budgetFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	flt, log, v, err := f.openViewer(stderr)
	if err != nil {
		return err
	}
	defer v.Close()
	var before *event.Look
	return v.each(ctx, &f.lookFlags, func(now *event.Look) (enough bool, err error) {
		if before != nil || f.interval == 0 {
			err, enough = showBudgets(w, &f, &flt, log, before, now), !f.watch
		}
		before = now
		return enough, err
	})
}

func showBudgets(w io.Writer, f *budgetFlags, flt *filter.Filter, log zerolog.Logger, before, now *event.Look) error {
	all, opens := ports.Budgets(before, now)
	list := all[:0]
	for _, b := range all {
		if wants(flt, &b) {
			list = append(list, b)
		}
	}
	out := newStdout(w)
	if f.output == "json" {
		j := jsonl.New(out, clock())
		for i := range list {
			if err := j.Budget(&list[i]); err != nil {
				return err
			}
		}
	} else {
		opt := table.Options{Wide: f.output == "wide", Header: !f.noHeader, Color: useColor(f.color, w)}
		if err := table.NewBudgets(out, opt).Write(list); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if len(list) == 0 {
		log.Info().Msg("no connection that this host opened is in a range of local ports here; what finwait budget can say needs at least one")
	}
	for _, o := range opens {
		if flt.NetNS == 0 && o.Counted == 0 {
			continue
		}
		log.Info().Uint32("netns", o.NetNS).Int64("connects", o.Counted).Int64("hold_a_port", o.Found).
			Msg("connects between the looks, by the kernel's own count (ActiveOpens); the others came and went")
	}
	return nil
}

// wants: a budget is about an address and a peer, and belongs to each process that holds a
// connection of it.
func wants(flt *filter.Filter, b *event.Budget) bool {
	s := event.Socket{NetNS: b.NetNS, Family: b.Family, Peer: b.Peer, Local: netip.AddrPortFrom(b.Local, 0)}
	for i := range b.Owners {
		if flt.Socket(&s, &b.Owners[i].Process) {
			return true
		}
	}
	return flt.Socket(&s, &event.Process{})
}
