// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"time"
)

// Budget is the local ports that connect() has towards one peer, from one local address.
type Budget struct {
	KTime  int64 // CLOCK_MONOTONIC, nanoseconds
	NetNS  uint32
	Family uint8 // 4 or 6
	Local  netip.Addr
	Peer   netip.AddrPort

	// The ports that connect() may choose. Capacity is Unknown where the range is.
	Range    PortRange
	Reserved int64 // of the range
	Capacity int64

	// Of them, ports that this budget's connections use, that bind() or a listening socket
	// keeps from every destination, and that connect() can have. Unknown without a range.
	Used, Bound, Left int64
	Reusable          int64 // of those left: in TIME_WAIT, and connect() takes them over
	Outside           int64 // more connections, whose port is not one of the range
	Shared            int64 // ports that connections to other peers use too
	SharedWith        []SharedPeer

	States [stateEnd]int64 // connections with a port of the range; a closed socket's FIN_WAIT2 is with FIN_WAIT2
	Owners []BudgetOwner   // those with the most connections first
	Orphan int64           // connections that no process holds, TIME_WAIT not counted

	// Whether TIME_WAIT can be cut short by tcp_tw_reuse.
	Reuse      string // the setting; empty where it is not known
	ReuseHere  bool   // the setting applies to this pair of addresses
	Timestamps int64  // TIME_WAITs that negotiated timestamps: without them there is no reuse

	Interval time.Duration // between the two looks; 0: there was one
	Taken    int64         // connections that came between them and hold a port
	Returned int64         // connections that held one, and are gone
	Level    float64       // ports in use once as many come back as are taken
	FailsIn  time.Duration // until connect() fails at this rate; Unknown: never
	NextBack time.Duration // until the next port comes back; Unknown: no TIME_WAIT
	LastBack time.Duration // until the last one does
}

// Connections is how many there are, in all states.
func (b *Budget) Connections() (n int64) {
	for _, of := range b.States {
		n += of
	}
	return n
}

// SharedPeer is another destination that uses the same local ports.
type SharedPeer struct {
	Local netip.Addr
	Peer  netip.AddrPort
	Ports int64
}

// BudgetOwner is a process that holds connections.
type BudgetOwner struct {
	Process
	Connections int64
}

// Opens compares the connects that a network namespace's own counter, ActiveOpens, has
// seen between two looks with the connections that were found.
type Opens struct {
	NetNS   uint32
	Counted int64 // by the kernel
	Found   int64 // that hold a port at the second look and did not at the first
}
