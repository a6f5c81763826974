// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Who closed, as seen from one side. Empty when nobody did (the connection never was).
const (
	CloserLocal  = "local"
	CloserPeer   = "peer"
	CloserBoth   = "both"
	CloserKernel = "kernel"
)

// How: the first five by this side, then two by the peer, then two by the kernel.
const (
	MethodClose      = "close"
	MethodShutdown   = "shutdown"
	MethodExit       = "exit"
	MethodLinger0    = "linger0"
	MethodUnreadData = "unread_data"
	MethodFin        = "fin"
	MethodRst        = "rst"
	MethodTimeout    = "timeout"
	MethodAbort      = "abort"
)

// What cut TIME_WAIT short, or kept it from being.
const (
	EndReusedByConnect = "reused_by_connect"
	EndReusedBySyn     = "reused_by_syn"
	EndReset           = "reset"
	EndOverflow        = "overflow"
)

// Side is one end of a connection.
type Side struct {
	// PID is the process that made this side's deciding call: the first close(),
	// shutdown() or exit on it. TID is the thread that did; it is 0 for MethodExit,
	// where any thread of the process may be the last to let go.
	PID  int    `json:"pid"`
	TID  int    `json:"tid,omitempty"`
	Comm string `json:"comm"`
	// Opener is the process that connected or accepted, where that was not PID.
	Opener int `json:"opener,omitempty"`
	// Local is not valid where connect() found no port. IPv4-mapped addresses are
	// unmapped.
	Local netip.AddrPort `json:"local"`
	Peer  netip.AddrPort `json:"peer"`

	Closer string `json:"closer,omitempty"`
	Method string `json:"method,omitempty"`

	// TimeWait: this side has entered TIME_WAIT. FinWait2Orphan: it waits (or waited
	// for seconds) in FIN_WAIT2 with no descriptor left, for a peer that does not close.
	// Either one, or both, is one mini-socket.
	TimeWait       bool   `json:"time_wait,omitempty"`
	FinWait2Orphan bool   `json:"fin_wait2_orphan,omitempty"`
	TimeWaitEnd    string `json:"time_wait_end,omitempty"` // empty: outlives the run
	Restarts       int    `json:"restarts,omitempty"`
}

// Close is one connection, or one attempt at it.
type Close struct {
	Kind Kind `json:"kind"`
	// Server is nil when the peer is not a kernel socket of this namespace, or the
	// connection was never made.
	Client *Side `json:"client"`
	Server *Side `json:"server,omitempty"`
	// Successor: this connection has the 4-tuple of the row before it, out of TIME_WAIT.
	Successor bool `json:"successor,omitempty"`
	// Prompt: the side that closed second acknowledged the first FIN at once and closed
	// then. A socket without a descriptor has become a mini-socket in FIN_WAIT2 in
	// between. Otherwise the ACK most likely came with the second FIN, and the
	// mini-socket began in TIME_WAIT.
	Prompt       bool   `json:"prompt,omitempty"`
	ConnectError string `json:"connect_error,omitempty"` // an errno's name

	Began time.Time `json:"began"` // before connect()
	Ended time.Time `json:"ended"` // after the last call made on either side
}

// Ledger is everything that was done, and how far the namespace's counters moved
// meanwhile. Rows of one process are in the order in which they happened.
type Ledger struct {
	Closes   []Close           `json:"closes"`
	Counters map[string]uint64 `json:"counters"`
}

// Totals are the facts that rows and kernel counters both know.
type Totals struct {
	Births         uint64 // mini-sockets made, in TIME_WAIT or FIN_WAIT2
	Reuses         uint64 // ended by connect()
	Overflows      uint64 // not made: tcp_max_tw_buckets
	AbortOnClose   uint64 // close() with unread data
	AbortOnData    uint64 // SO_LINGER 0
	AbortOnTimeout uint64
	AbortOther     uint64 // AbortOnLinger, AbortOnMemory, AbortFailed: never done here
}

// Totals counts the rows.
func (l Ledger) Totals() Totals {
	var t Totals
	for _, c := range l.Closes {
		for _, s := range []*Side{c.Client, c.Server} {
			if s != nil {
				t.add(*s)
			}
		}
	}
	return t
}

// Add adds the totals of another run.
func (t *Totals) Add(o Totals) {
	t.Births += o.Births
	t.Reuses += o.Reuses
	t.Overflows += o.Overflows
	t.AbortOnClose += o.AbortOnClose
	t.AbortOnData += o.AbortOnData
	t.AbortOnTimeout += o.AbortOnTimeout
	t.AbortOther += o.AbortOther
}

func (t *Totals) add(s Side) {
	if s.TimeWait || s.FinWait2Orphan {
		t.Births++
	}
	switch s.TimeWaitEnd {
	case EndReusedByConnect:
		t.Reuses++
	case EndOverflow:
		t.Overflows++
	}
	switch {
	case s.Method == MethodLinger0:
		t.AbortOnData++
	case s.Method == MethodUnreadData:
		t.AbortOnClose++
	case s.Method == MethodTimeout:
		t.AbortOnTimeout++
	}
}

// Kernel is the same, as the kernel counted it. __inet_twsk_schedule() counts a birth
// in TWKilled instead of TW when the timeout is four seconds or less, as a small
// tcp_fin_timeout makes it.
func (l Ledger) Kernel() Totals {
	c := l.Counters
	return Totals{
		Births:         c["TW"] + c["TWKilled"],
		Reuses:         c["TWRecycled"],
		Overflows:      c["TCPTimeWaitOverflow"],
		AbortOnClose:   c["TCPAbortOnClose"],
		AbortOnData:    c["TCPAbortOnData"],
		AbortOnTimeout: c["TCPAbortOnTimeout"],
		AbortOther:     c["TCPAbortOnLinger"] + c["TCPAbortOnMemory"] + c["TCPAbortFailed"],
	}
}

// join pairs what the clients say with what the servers say about the same connection.
// Each end has read its own addresses, so a pair that does not mirror is an error.
func join(clients, servers []half) ([]Close, error) {
	ends := make(map[uint32]half, len(servers))
	for _, s := range servers {
		if _, twice := ends[s.ID]; twice {
			return nil, fmt.Errorf("join ledger: connection %d was accepted twice", s.ID)
		}
		ends[s.ID] = s
	}
	closes := make([]Close, 0, len(clients))
	for _, c := range clients {
		row := Close{
			Kind: c.Kind, Client: &c.Side, Successor: c.Successor, Prompt: c.Prompt,
			ConnectError: c.ConnectError, Began: c.Began, Ended: c.Ended,
		}
		if s, ok := ends[c.ID]; ok {
			if s.Side.Local != c.Side.Peer || s.Side.Peer != c.Side.Local {
				return nil, fmt.Errorf("join ledger: %s: client has %s to %s, server has %s to %s",
					c.Kind, c.Side.Local, c.Side.Peer, s.Side.Local, s.Side.Peer)
			}
			row.Server = &s.Side
			if s.Ended.After(row.Ended) {
				row.Ended = s.Ended
			}
			delete(ends, c.ID)
		} else if c.ConnectError == "" && !c.Kind.Scripted() {
			return nil, fmt.Errorf("join ledger: %s from %s was never accepted", c.Kind, c.Side.Local)
		}
		if row.Successor {
			if err := closes[len(closes)-1].succeeded(row); err != nil {
				return nil, err
			}
		}
		closes = append(closes, row)
	}
	if len(ends) > 0 {
		return nil, errors.New("join ledger: a server accepted a connection no client made")
	}
	return closes, nil
}

// succeeded ends a row's TIME_WAIT: the next row's connection could not have been made
// on the same 4-tuple otherwise.
func (c *Close) succeeded(by Close) error {
	if c.Client.tuple() != by.Client.tuple() {
		return fmt.Errorf("join ledger: %s and its successor differ in address", c.Kind)
	}
	switch {
	case c.Client.TimeWait:
		c.Client.TimeWaitEnd = EndReusedByConnect
	case c.Server != nil && c.Server.TimeWait:
		c.Server.TimeWaitEnd = EndReusedBySyn
	}
	return nil
}
