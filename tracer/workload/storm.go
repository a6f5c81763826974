// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// mix is what a storm is made of, in rows of a thousand.
var mix = []share{
	{ServerFirst, 200}, {HalfClose, 100}, {Linger0, 60}, {Linger0Server, 60},
	{UnreadData, 60}, {IPv6, 40}, {V4Mapped, 40}, {Thread, 30}, {TWReused, 40},
	{TWSyn, 40}, {NoPort, 20}, {Refused, 15}, {OrphanFinWait2, 5},
	// and the rest ClientFirst
}

// pairs are kinds that make two rows at a time.
var pairs = map[Kind]bool{TWReused: true, TWSyn: true, NoPort: true}

const (
	victims     = 2
	victimsMost = 50 // connections each: the server has a thread for every one
	orphansMost = 50 // of each worker: the server has a descriptor for every one
)

// Storm makes exactly n closes of mixed kinds at full speed, between several processes
// that are clients and servers at once, and returns when the last state of each has been
// reached. TIME_WAIT stays, except where the ledger says otherwise.
func (l *Lab) Storm(ctx context.Context, n int) (ledger Ledger, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := l.recruit(ctx); err != nil {
		return Ledger{}, fmt.Errorf("raise storm: %w", err)
	}
	restore, err := l.ns.tune(setting{name: "ipv4.tcp_fin_timeout", value: "60"})
	if err != nil {
		return Ledger{}, fmt.Errorf("raise storm: %w", err)
	}
	defer func() { err = errors.Join(err, restore()) }()
	before, err := l.counters()
	if err != nil {
		return Ledger{}, err
	}
	// At full speed and at the end some skip TIME_WAIT: a phase of its own, since the
	// limit holds for everybody.
	overflow := n / 40
	hoard := min(n/200/victims, victimsMost)
	closes, err := l.phase(ctx, cancel, hoard, func(worker int) []share {
		return l.plan(portion(n-overflow-hoard*victims, worker, len(l.storm)))
	})
	if err != nil {
		return Ledger{}, fmt.Errorf("raise storm: %w", err)
	}
	skipped, err := l.overflowPhase(ctx, cancel, overflow)
	if err != nil {
		return Ledger{}, fmt.Errorf("raise storm: %w", err)
	}
	after, err := l.counters()
	if err != nil {
		return Ledger{}, err
	}
	return Ledger{Closes: append(closes, skipped...), Counters: since(before, after)}, nil
}

// recruit starts the storm's workers, once.
func (l *Lab) recruit(ctx context.Context) error {
	for i := len(l.storm); i < l.options.Workers; i++ {
		p, err := start(ctx, l.ns, fmt.Sprintf("storm-%d", i+1), uint16(stormPort+i), nil)
		if err != nil {
			return err
		}
		l.storm = append(l.storm, p)
		if _, err := p.call(ctx, request{Op: opHost}); err != nil {
			return err
		}
	}
	return nil
}

func portion(n, i, of int) int {
	if i < n%of {
		return n/of + 1
	}
	return n / of
}

// plan divides rows among the kinds.
func (l *Lab) plan(rows int) []share {
	var plan []share
	rest := rows
	for _, s := range mix {
		if (s.Kind == IPv6 || s.Kind == V4Mapped) && !l.server.ipv6 {
			continue
		}
		count, cost := rows*s.Count/1000, 1
		if pairs[s.Kind] {
			count, cost = count/2, 2
		}
		if s.Kind == OrphanFinWait2 {
			count = min(count, orphansMost)
		}
		plan = append(plan, share{s.Kind, count})
		rest -= count * cost
	}
	return append(plan, share{ClientFirst, rest})
}

func (l *Lab) overflowPhase(ctx context.Context, cancel context.CancelCauseFunc, n int) (closes []Close, err error) {
	restore, err := l.ns.tune(setting{name: "ipv4.tcp_max_tw_buckets", value: "0"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	return l.phase(ctx, cancel, 0, func(worker int) []share {
		return []share{{TWOverflow, portion(n, worker, len(l.storm))}}
	})
}

// phase has every worker carry out its plan, kills processes meanwhile, and waits until
// all is quiet. Whoever fails first takes the others down.
func (l *Lab) phase(
	ctx context.Context, cancel context.CancelCauseFunc, hoard int, plan func(worker int) []share,
) ([]Close, error) {
	var clients []half
	err := l.everybody(ctx, cancel, &clients, len(l.storm), func(i int) ([]half, error) {
		return l.storm[i].call(ctx, request{
			Op: opGenerate, Plan: plan(i), Ports: l.stormPorts(), Index: i + 1, Seed: l.options.Seed,
		})
	}, hoard)
	if err != nil {
		return nil, err
	}
	expected := make(map[uint16]int)
	for i, c := range clients {
		if c.ConnectError == "" {
			expected[c.Side.Peer.Port()]++
		}
		if c.Kind == OrphanFinWait2 {
			// Enters TIME_WAIT when its peer is released, below.
			clients[i].Side.TimeWait, err = l.awaitOrphan(ctx, c.Side.tuple())
			if err != nil {
				return nil, err
			}
		}
	}
	var servers []half
	err = l.everybody(ctx, cancel, &servers, len(l.storm), func(i int) ([]half, error) {
		p := l.storm[i]
		halves, err := p.call(ctx, request{Op: opDrain, Count: expected[p.port]})
		if err != nil {
			return nil, err
		}
		_, err = p.call(ctx, request{Op: opRelease})
		return halves, err
	}, 0)
	if err != nil {
		return nil, err
	}
	if err := l.settle(ctx); err != nil {
		return nil, err
	}
	return join(clients, servers)
}

func (l *Lab) stormPorts() []uint16 {
	ports := make([]uint16, len(l.storm))
	for i, p := range l.storm {
		ports[i] = p.port
	}
	return ports
}

// everybody calls for each worker at once, and for the victims if there is a hoard, and
// collects what they say in the workers' order.
func (l *Lab) everybody(
	ctx context.Context, cancel context.CancelCauseFunc, into *[]half,
	workers int, call func(i int) ([]half, error), hoard int,
) error {
	calls := make([]func() ([]half, error), 0, workers+victims)
	for i := range workers {
		calls = append(calls, func() ([]half, error) { return call(i) })
	}
	if hoard > 0 {
		for v := range victims {
			l.serial += hoard
			first := l.serial - hoard + 1
			calls = append(calls, func() ([]half, error) { return l.sacrifice(ctx, v, first, hoard) })
		}
	}
	results, errs := make([][]half, len(calls)), make([]error, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		wg.Go(func() {
			if results[i], errs[i] = c(); errs[i] != nil {
				cancel(errs[i])
			}
		})
	}
	wg.Wait()
	for _, r := range results {
		*into = append(*into, r...)
	}
	if err := context.Cause(ctx); err != nil {
		return err // the first; the others are its consequences
	}
	return errors.Join(errs...)
}

// sacrifice starts a process, has it open connections to everybody and kills it.
func (l *Lab) sacrifice(ctx context.Context, v, serial, count int) ([]half, error) {
	victim, err := start(ctx, l.ns, fmt.Sprintf("victim-%d", v+1), 0, nil)
	if err != nil {
		return nil, err
	}
	defer victim.kill()
	halves, err := victim.call(ctx, request{
		Op: opHoard, Kind: Sigkill, ID: uint32(serial), Count: count, Ports: l.stormPorts(),
		Dest: netip.AddrPortFrom(spread(netip.AddrFrom4([4]byte{127, 200, 0, 0}), serial, 0).Addr(), 0),
	})
	if err != nil {
		return nil, err
	}
	victim.kill()
	killed(halves)
	return halves, nil
}
