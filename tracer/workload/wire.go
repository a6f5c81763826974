// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// What the coordinator can ask of a worker. One request, one reply, a JSON line each.
const (
	opServe    = "serve"    // handle Count connections, reply with their halves
	opHost     = "host"     // the same in the background, until the process ends
	opDrain    = "drain"    // wait for Count connections of opHost, reply with them
	opRelease  = "release"  // close the sockets orphans are waiting for
	opAdopt    = "adopt"    // take a socket from another process, see its client close, close it
	opRun      = "run"      // open and finish
	opOpen     = "open"     // connect and say hello; reply with the unfinished half
	opFinish   = "finish"   // end what opOpen began
	opHoard    = "hoard"    // open Count connections and keep them
	opGenerate = "generate" // make all closes of Plan
)

type request struct {
	Op string `json:"op"`
	// Kind is what the connection does, Label the kind of the row it belongs to where
	// that is another (a second connection of the same story).
	Kind      Kind           `json:"kind,omitempty"`
	Label     Kind           `json:"label,omitempty"`
	ID        uint32         `json:"id,omitempty"`
	Dest      netip.AddrPort `json:"dest"`
	Source    netip.AddrPort `json:"source"`
	Successor bool           `json:"successor,omitempty"`
	Prompt    bool           `json:"prompt,omitempty"`
	OnePort   uint16         `json:"one_port,omitempty"` // all that connect() may choose
	Count     int            `json:"count,omitempty"`
	Plan      []share        `json:"plan,omitempty"`
	Ports     []uint16       `json:"ports,omitempty"`
	Index     int            `json:"index,omitempty"`
	Seed      uint64         `json:"seed,omitempty"`
}

type reply struct {
	Error  string `json:"error,omitempty"`
	Halves []half `json:"halves,omitempty"`
}

// ready is the first line of a worker.
type ready struct {
	Error string `json:"error,omitempty"`
	IPv6  bool   `json:"ipv6,omitempty"`
}

// half is one end of a connection, by the process that had it. ID joins the two.
type half struct {
	ID           uint32    `json:"id"`
	Kind         Kind      `json:"kind"`
	Side         Side      `json:"side"`
	Successor    bool      `json:"successor,omitempty"`
	Prompt       bool      `json:"prompt,omitempty"`
	ConnectError string    `json:"connect_error,omitempty"`
	Began        time.Time `json:"began"`
	Ended        time.Time `json:"ended"`
}

// share is how many connections of a kind a worker makes.
type share struct {
	Kind  Kind `json:"kind"`
	Count int  `json:"count"`
}

// A greeting is the first thing a client sends: it tells the server which connection
// this is in the ledger, and how it shall end. The server answers with one byte.
const greetingLen = 8

func (c *connection) greeting() []byte {
	b := make([]byte, greetingLen)
	b[0] = byte(c.kind.code())
	if c.half.Prompt {
		b[1] = 1
	}
	binary.BigEndian.PutUint32(b[4:], c.half.ID)
	return b
}

func (h *half) parseGreeting(b []byte) error {
	k, ok := kindOf(int(b[0]))
	if !ok {
		return fmt.Errorf("parse greeting: no kind has code %d", b[0])
	}
	h.Kind, h.Prompt, h.ID = k, b[1] == 1, binary.BigEndian.Uint32(b[4:])
	return nil
}
