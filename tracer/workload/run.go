// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Run makes one close of a kind and returns when its last state has been reached: what
// it leaves behind is at most TIME_WAIT, or an orphan and the socket that it waits for.
// The ledger has one row; two for TWReused and TWSyn, where the second connection takes
// the first one's 4-tuple, and for NoPort, where the first one takes the only port.
// It is errors.ErrUnsupported that a kernel has no veth, no IPv6 or no SOCK_DESTROY; the
// Lab is good for other kinds then.
func (l *Lab) Run(ctx context.Context, k Kind) (Ledger, error) {
	if k.code() < 0 {
		return Ledger{}, fmt.Errorf("run workload: no kind %q", k)
	}
	before, err := l.counters()
	if err != nil {
		return Ledger{}, err
	}
	closes, err := l.perform(ctx, k)
	if err == nil {
		err = l.settle(ctx)
	}
	if err != nil {
		return Ledger{}, fmt.Errorf("run %s: %w", k, err)
	}
	after, err := l.counters()
	if err != nil {
		return Ledger{}, err
	}
	return Ledger{Closes: closes, Counters: since(before, after)}, nil
}

func (l *Lab) perform(ctx context.Context, k Kind) ([]Close, error) {
	if k.Scripted() {
		return l.runScripted(ctx, k)
	}
	if (k == IPv6 || k == V4Mapped) && !l.server.ipv6 {
		return nil, fmt.Errorf("this kernel has no IPv6: %w", errors.ErrUnsupported)
	}
	switch k {
	case Sigkill:
		return l.runSigkill(ctx)
	case Abort:
		return l.runAbort(ctx)
	case ForkChild:
		return l.runForkChild(ctx)
	case TWReused:
		return l.runReuse(ctx)
	case TWSyn:
		return l.runReopen(ctx)
	case TWOverflow:
		return l.runOverflow(ctx)
	case NoPort:
		return l.runNoPort(ctx)
	case Refused:
		r := l.destination(k)
		// Bound, or nobody would know the port afterwards; nobody listens on port 1.
		r.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(9000+l.serial%20000))
		r.Dest = netip.AddrPortFrom(r.Dest.Addr(), 1)
		return l.meet(ctx, 0, l.clientRuns(r))
	}
	closes, err := l.meet(ctx, 1, l.clientRuns(l.destination(k)))
	if err != nil || k != OrphanFinWait2 {
		return closes, err
	}
	orphan, holder := closes[0].Client.tuple(), closes[0].Server.tuple()
	l.held[orphan], l.held[holder] = true, true
	_, err = l.awaitOrphan(ctx, orphan)
	return closes, err
}

// meet lets the server handle a number of connections while the client side acts. When
// either fails the other would wait in vain, so it is killed.
func (l *Lab) meet(ctx context.Context, count int, act func(context.Context) ([]half, error)) ([]Close, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type outcome struct {
		halves []half
		err    error
	}
	served := make(chan outcome, 1)
	go func() {
		if count == 0 {
			served <- outcome{}
			return
		}
		halves, err := l.server.call(ctx, request{Op: opServe, Count: count})
		if err != nil {
			cancel(err)
		}
		served <- outcome{halves, err}
	}()
	clients, err := act(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		cancel(err)
	}
	servers := <-served
	if err := errors.Join(err, servers.err); err != nil {
		return nil, err
	}
	return join(clients, servers.halves)
}

func (l *Lab) clientRuns(r request) func(context.Context) ([]half, error) {
	r.Op = opRun
	return func(ctx context.Context) ([]half, error) { return l.client.call(ctx, r) }
}

func (l *Lab) runSigkill(ctx context.Context) ([]Close, error) {
	victim, err := start(ctx, l.ns, "demo-victim", 0, nil)
	if err != nil {
		return nil, err
	}
	defer victim.kill()
	r := l.destination(Sigkill)
	r.Op = opOpen
	return l.meet(ctx, 1, func(ctx context.Context) ([]half, error) {
		halves, err := victim.call(ctx, r)
		if err != nil {
			return nil, err
		}
		victim.kill()
		killed(halves)
		return halves, nil
	})
}

// killed completes the rows of a process that could not. Which of its threads was the
// last to let go of the descriptors nobody knows.
func killed(halves []half) {
	for i := range halves {
		s := &halves[i].Side
		s.Closer, s.Method, s.TimeWait, s.TID = CloserLocal, MethodExit, true, 0
		halves[i].Ended = time.Now()
	}
}

func (l *Lab) runAbort(ctx context.Context) ([]Close, error) {
	r := l.destination(Abort)
	r.Op = opOpen
	return l.meet(ctx, 1, func(ctx context.Context) ([]half, error) {
		halves, err := l.client.call(ctx, r)
		if err != nil {
			return nil, err
		}
		err = l.diag.destroy(halves[0].Side.tuple())
		if err != nil {
			// Not to leave the server waiting.
			_, rest := l.client.call(ctx, request{Op: opFinish, Kind: ClientFirst})
			return nil, errors.Join(err, rest)
		}
		return l.client.call(ctx, request{Op: opFinish})
	})
}

func (l *Lab) runForkChild(ctx context.Context) ([]Close, error) {
	var adopted []half
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() {
		var err error
		adopted, err = l.child.call(ctx, request{Op: opAdopt})
		if err != nil {
			cancel(err)
		}
		done <- err
	}()
	var clients []half
	act := l.clientRuns(l.destination(ForkChild))
	_, err := l.meet(ctx, 1, func(ctx context.Context) ([]half, error) {
		var err error
		clients, err = act(ctx)
		return nil, err // the server has no row of its own to join it with
	})
	if err != nil {
		cancel(err)
	}
	if err := errors.Join(err, <-done); err != nil {
		return nil, err
	}
	return join(clients, adopted)
}

func (l *Lab) runOverflow(ctx context.Context) (closes []Close, err error) {
	restore, err := l.ns.tune(setting{name: "ipv4.tcp_max_tw_buckets", value: "0"})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	closes, err = l.meet(ctx, 1, l.clientRuns(l.destination(TWOverflow)))
	if err != nil {
		return nil, err
	}
	return closes, l.settle(ctx)
}
