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
