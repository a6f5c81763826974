// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"

	"golang.org/x/sys/unix"
)

// No two connections of a storm may have the same 4-tuple, or one would take over the
// other's TIME_WAIT where the ledger knows nothing of it. There are two ways to be sure.
// A "fixed" connection binds an address of its worker's and a port that it never takes
// twice, outside ip_local_port_range. A "free" one lets connect() choose the port, as
// programs do, and goes to a destination address that it never takes twice.
const (
	fixedPortLow  = 10000
	fixedPortHigh = 32000 // below ip_local_port_range
	// A bound port may not be in the range of the free ones: connect() passes over
	// every port whose bucket was made by bind().

	// onePort is the range of a socket that shall find no port; it is in the default
	// ip_local_port_range, outside of which IP_LOCAL_PORT_RANGE has no effect.
	onePort = 50000
)

// generator is one worker's clients.
type generator struct {
	w         *worker
	r         request
	rng       *rand.Rand
	portRange bool // the kernel has IP_LOCAL_PORT_RANGE
	halves    []half
}

// generate makes every close of a plan, in an order that depends on the seed alone.
func (w *worker) generate(r request) ([]half, error) {
	g := &generator{
		w: w, r: r, rng: rand.New(rand.NewPCG(r.Seed, uint64(r.Index))), portRange: hasPortRange(),
	}
	var order []Kind
	for _, p := range r.Plan {
		for range p.Count {
			order = append(order, p.Kind)
		}
	}
	g.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, kind := range order {
		if err := g.produce(kind); err != nil {
			return nil, err
		}
	}
	return g.halves, nil
}

func (g *generator) produce(kind Kind) error {
	port := g.r.Ports[g.rng.IntN(len(g.r.Ports))]
	switch kind {
	case TWReused:
		return g.succession(kind, ClientFirst, port)
	case TWSyn:
		return g.succession(kind, ServerFirst, port)
	case NoPort:
		return g.exhaustion(port)
	case Refused:
		// Bound, so that the ledger knows the port; nobody listens on port 1.
		return g.run(g.fixed(kind, 1))
	case IPv6:
		q := g.next(kind)
		q.Dest = netip.AddrPortFrom(netip.IPv6Loopback(), port)
		return g.run(q)
	case V4Mapped:
		return g.run(g.free(kind, port))
	}
	if g.rng.IntN(2) == 0 {
		return g.run(g.fixed(kind, port))
	}
	return g.run(g.free(kind, port))
}

// next gives the connection its number, unique in the lab.
func (g *generator) next(kind Kind) request {
	g.w.serial++
	return request{
		Kind: kind, ID: uint32(g.r.Index)<<24 | uint32(g.w.serial),
		// Both ways into TIME_WAIT. An orphan must see its FIN acknowledged.
		Prompt: kind == OrphanFinWait2 || g.rng.IntN(2) == 0,
	}
}

func (g *generator) fixed(kind Kind, port uint16) request {
	q := g.next(kind)
	const ports = fixedPortHigh - fixedPortLow
	n := g.w.serial / ports
	source := netip.AddrFrom4([4]byte{127, byte(g.r.Index), byte(n), 1})
	q.Source = netip.AddrPortFrom(source, uint16(fixedPortLow+g.w.serial%ports))
	q.Dest = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	return q
}

func (g *generator) free(kind Kind, port uint16) request {
	q := g.next(kind)
	q.Dest = spread(netip.AddrFrom4([4]byte{127, 64 + byte(g.r.Index)*4, 0, 0}), g.w.serial, port)
	return q
}

// spread counts destination addresses up from a base.
func spread(base netip.Addr, n int, port uint16) netip.AddrPort {
	a := base.As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(n))
	return netip.AddrPortFrom(netip.AddrFrom4(a), port)
}

func (g *generator) run(q request) error {
	c, err := g.w.connect(q)
	if err != nil {
		return err
	}
	return g.end(c)
}

func (g *generator) end(c *connection) error {
	if err := g.w.finish(c); err != nil {
		return err
	}
	g.halves = append(g.halves, c.half)
	return nil
}

// succession makes two connections with the same 4-tuple, the second while the first is
// in TIME_WAIT: on this side, where connect() takes it over, or on the server's, where
// the SYN does.
func (g *generator) succession(label, first Kind, port uint16) error {
	q := g.fixed(first, port)
	q.Label = label
	if err := g.run(q); err != nil {
		return err
	}
	ours := tuple{q.Source, q.Dest}
	theirs := tuple{q.Dest, q.Source}
	if first == ServerFirst {
		ours, theirs = theirs, ours
	}
	if err := g.w.awaitTimeWait(ours, theirs); err != nil {
		return err
	}
	again := g.next(ClientFirst)
	again.Label, again.Successor, again.Source, again.Dest = label, true, q.Source, q.Dest
	return g.run(again)
}

// awaitTimeWait waits until one end is in TIME_WAIT and the other is gone. Sooner, a SYN
// could meet a socket in LAST_ACK.
func (w *worker) awaitTimeWait(waiting, gone tuple) error {
	return until("TIME_WAIT", func() (bool, error) { return timeWaitOnly(w.diag, waiting, gone) })
}

func timeWaitOnly(d *diag, waiting, gone tuple) (bool, error) {
	state, err := d.state(waiting)
	if err != nil || state != stateTimeWait {
		return false, err
	}
	state, err = d.state(gone)
	return state == stateNone, err
}

// exhaustion lets one connection occupy the only port there is while another asks for
// one. A kernel without a per-socket range gets the same error from a 4-tuple in use.
func (g *generator) exhaustion(port uint16) error {
	q := g.free(NoPort, port)
	if g.portRange {
		q.OnePort = onePort
	} else {
		q = g.fixed(NoPort, port)
	}
	holder, err := g.w.connect(q)
	if err != nil {
		return err
	}
	again := g.next(NoPort)
	again.Source, again.Dest, again.OnePort = q.Source, q.Dest, q.OnePort
	c, err := g.w.connect(again)
	if err != nil {
		return err
	}
	if c.fd >= 0 {
		return errors.New("generate no_port: connect() found a port where there was none")
	}
	g.halves = append(g.halves, c.half)
	return g.end(holder)
}

func hasPortRange() bool {
	fd, err := newSocket(unix.AF_INET)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return limitPorts(fd, onePort) == nil
}
