// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
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

// onlyPort leaves connect() one port to choose. The range has two, of which one is
// reserved: the kernel logs a complaint about ranges whose ends have the same parity.
func (l *Lab) onlyPort(more ...setting) (restore func() error, err error) {
	port := 40000 + 2*(l.serial%10000)
	return l.ns.tune(append(more,
		setting{name: "ipv4.ip_local_reserved_ports", value: strconv.Itoa(port + 1)},
		setting{name: "ipv4.ip_local_port_range", value: fmt.Sprintf("%d %d", port, port+1)},
	)...)
}

// runNoPort has TIME_WAIT occupy the only port there is.
func (l *Lab) runNoPort(ctx context.Context) (closes []Close, err error) {
	r := l.destination(NoPort)
	restore, err := l.onlyPort()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	closes, err = l.meet(ctx, 1, l.clientRuns(r))
	if err != nil {
		return nil, err
	}
	r.ID = l.destination(NoPort).ID
	more, err := l.meet(ctx, 0, l.clientRuns(r))
	if err == nil && more[0].ConnectError == "" {
		err = errors.New("connect() found a port where there was none")
	}
	return append(closes, more...), err
}

// runReuse is what tcp_tw_reuse is for: connect() has one port to choose, finds it in
// TIME_WAIT and takes it over.
func (l *Lab) runReuse(ctx context.Context) (closes []Close, err error) {
	r := l.destination(TWReused)
	restore, err := l.onlyPort(
		setting{name: "ipv4.tcp_tw_reuse", value: "1"},
		setting{name: "ipv4.tcp_tw_reuse_delay", value: "1", optional: true},
	)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	return l.succeed(ctx, r, func(first Side) error {
		if err := l.awaitTimeWait(ctx, first.Local, first.Peer); err != nil {
			return err
		}
		return l.awaitReusable(ctx)
	})
}

// runReopen leaves TIME_WAIT to the server and comes back from the same port.
func (l *Lab) runReopen(ctx context.Context) ([]Close, error) {
	r := l.destination(TWSyn)
	r.Kind, r.Label = ServerFirst, TWSyn
	r.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(9000+l.serial%20000))
	return l.succeed(ctx, r, func(first Side) error {
		return l.awaitTimeWait(ctx, first.Peer, first.Local)
	})
}

// succeed makes two connections of the same 4-tuple, with a wait in between.
func (l *Lab) succeed(ctx context.Context, r request, wait func(first Side) error) ([]Close, error) {
	return l.meet(ctx, 2, func(ctx context.Context) ([]half, error) {
		first, err := l.clientRuns(r)(ctx)
		if err != nil {
			return nil, err
		}
		if err := wait(first[0].Side); err != nil {
			return nil, err
		}
		again := l.destination(ClientFirst)
		again.Label, again.Successor = first[0].Kind, true
		again.Source, again.Dest = r.Source, r.Dest
		second, err := l.clientRuns(again)(ctx)
		return append(first, second...), err
	})
}

// awaitTimeWait waits until waiting's end is in TIME_WAIT and the other is gone.
func (l *Lab) awaitTimeWait(ctx context.Context, waiting, gone netip.AddrPort) error {
	return await(ctx, "TIME_WAIT", func() (bool, error) {
		return timeWaitOnly(l.diag, tuple{waiting, gone}, tuple{gone, waiting})
	})
}

// awaitReusable waits as long as tcp_twsk_unique() makes connect() wait: until the
// clock's millisecond (tcp_tw_reuse_delay, 6.14) or, before that, its second is past.
func (l *Lab) awaitReusable(ctx context.Context) error {
	unit := int64(time.Second)
	if _, err := l.ns.read("ipv4.tcp_tw_reuse_delay"); err == nil {
		unit = int64(2 * time.Millisecond)
	}
	begin := monotonic() / unit
	return await(ctx, "the reuse delay", func() (bool, error) {
		return monotonic()/unit > begin+1, nil
	})
}

func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail
	return now.Nano()
}
