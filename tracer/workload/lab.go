// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a Lab. The zero value is good.
type Options struct {
	// Workers is how many processes a storm uses, each as client and as server;
	// 0 means 4, and 12 is the most.
	Workers int
	// Seed orders a storm's closes.
	Seed uint64
	// FinTimeout is tcp_fin_timeout, in whole seconds: how long an orphan waits in
	// FIN_WAIT2. 0 leaves the kernel's default, a minute, which a storm always has.
	FinTimeout time.Duration
}

// Ports the workers serve. They are below every port a client may have.
const (
	demoPort  = 8080
	stormPort = 8100
)

// Lab is a network namespace with processes in it.
type Lab struct {
	options Options
	ns      *namespace
	diag    *diag
	peer    *peer
	noPeer  error // why there is none

	client, server, child *process
	storm                 []*process

	serial int            // connections of Run so far: names addresses, ports and rows
	held   map[tuple]bool // ends of orphans and of their peers

	closing func() error
}

// New makes the namespace and starts the workers that Run needs. It needs root.
func New(ctx context.Context, options Options) (*Lab, error) {
	if options.Workers == 0 {
		options.Workers = 4
	}
	if options.Workers < 0 || options.Workers > 12 {
		return nil, fmt.Errorf("make lab: %d workers, want 1 to 12", options.Workers)
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("make lab: %w", err)
	}
	l := &Lab{options: options, ns: ns, held: make(map[tuple]bool)}
	l.closing = sync.OnceValue(l.close)
	err = l.furnish()
	if err == nil {
		err = l.staff(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) furnish() error {
	settings := []setting{
		// Nobody may take a TIME_WAIT over by chance; tw_reused turns it on.
		{name: "ipv4.tcp_tw_reuse", value: "0"},
		{name: "ipv4.tcp_max_tw_buckets", value: "1000000"},
		// What one connection learns must not change the next one's timing.
		{name: "ipv4.tcp_no_metrics_save", value: "1", optional: true},
		{name: "ipv6.conf.lo.disable_ipv6", value: "0", optional: true},
	}
	if s := int(l.options.FinTimeout / time.Second); s > 0 {
		settings = append(settings, setting{name: "ipv4.tcp_fin_timeout", value: strconv.Itoa(s)})
	}
	if _, err := l.ns.tune(settings...); err != nil {
		return err
	}
	return l.ns.do(func() (err error) {
		if err := raiseLoopback(); err != nil {
			return err
		}
		if l.diag, err = openDiag(); err != nil {
			return err
		}
		l.peer, l.noPeer = openPeer()
		if errors.Is(l.noPeer, errors.ErrUnsupported) {
			return nil // only the scripted kinds are lost
		}
		return l.noPeer
	})
}

func (l *Lab) staff(ctx context.Context) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	giver, taker := os.NewFile(uintptr(fds[0]), "giver"), os.NewFile(uintptr(fds[1]), "taker")
	defer giver.Close()
	defer taker.Close()
	if l.client, err = start(ctx, l.ns, "demo-client", 0, nil); err != nil {
		return err
	}
	if l.server, err = start(ctx, l.ns, "demo-server", demoPort, giver); err != nil {
		return err
	}
	l.child, err = start(ctx, l.ns, "demo-child", 0, taker)
	return err
}

// NetNS is the inode number of the namespace, as the last part of its /proc link.
func (l *Lab) NetNS() uint32 { return l.ns.inode }

// PIDs are the workers that are alive. Those of a storm exist from the first storm on;
// processes whose story is to be killed come and go.
func (l *Lab) PIDs() []int {
	var pids []int
	for _, p := range l.processes() {
		if !p.ended.Load() {
			pids = append(pids, p.pid())
		}
	}
	return pids
}

func (l *Lab) processes() []*process {
	var all []*process
	for _, p := range append([]*process{l.client, l.server, l.child}, l.storm...) {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// Do runs f on a thread inside the namespace, for callers that want to look around.
func (l *Lab) Do(f func() error) error { return l.ns.do(f) }

// Close kills the workers and gives the namespace up. The kernel then ends every socket
// and every TIME_WAIT in it, in its own time. A second Close does nothing.
func (l *Lab) Close() error { return l.closing() }

func (l *Lab) close() error {
	var failed error
	for _, p := range l.processes() {
		p.kill()
	}
	if l.peer != nil {
		failed = errors.Join(failed, l.peer.close())
	}
	if l.diag != nil {
		failed = errors.Join(failed, l.diag.close())
	}
	l.ns.close()
	return failed
}

// counters reads the namespace's.
func (l *Lab) counters() (counters map[string]uint64, err error) {
	err = l.ns.do(func() error {
		counters, err = readCounters()
		return err
	})
	return counters, err
}

// settle waits until no socket is on its way from one state to another: everything the
// workers have done has had its whole effect. Sockets the ledger holds do not count.
func (l *Lab) settle(ctx context.Context) error {
	return await(ctx, "sockets to settle", func() (bool, error) {
		open, err := l.diag.list(passing)
		if err != nil {
			return false, err
		}
		for _, t := range open {
			if !l.held[t] {
				return false, nil
			}
		}
		return true, nil
	})
}

// awaitOrphan waits until a closed socket has come to FIN_WAIT2, and reports whether it
// is still there: tcp_fin_timeout may be over.
func (l *Lab) awaitOrphan(ctx context.Context, t tuple) (waiting bool, err error) {
	err = await(ctx, "an orphan in FIN_WAIT2", func() (bool, error) {
		state, err := l.diag.state(t)
		waiting = state == stateFinWait2
		return waiting || state == stateNone, err
	})
	return waiting, err
}

// await looks again and again until something holds.
func await(ctx context.Context, what string, holds func() (bool, error)) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// destination gives each connection of Run an address of its own, so that no two have
// the same 4-tuple unless they are meant to.
func (l *Lab) destination(k Kind) request {
	l.serial++
	r := request{Kind: k, ID: uint32(l.serial), Prompt: !k.Scripted() && k != Refused}
	switch {
	case k == IPv6:
		r.Dest = netip.AddrPortFrom(netip.IPv6Loopback(), demoPort)
	case k.Scripted():
		r.Dest = netip.AddrPortFrom(peerAddr, uint16(peerPort+l.serial%20000))
	default:
		r.Dest = spread(netip.AddrFrom4([4]byte{127, 0, 1, 0}), l.serial, demoPort)
	}
	return r
}
