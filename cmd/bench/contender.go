// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// contender is a tracer that is measured.
type contender struct {
	name    string
	command []string
	state   string // its program on inet_sock_set_state; empty: it has no other
	// ours writes a record for each step towards the end; the others, a row for each of
	// the ten state changes, or for each socket.
	ours    bool
	perConn int // rows that one connection of the load has; 0: not known
}

// floorName is the column of the empty programs.
const floorName = "empty programs on finwait's hooks"

// bpftraceLine is what one would type: the same facts that tcpstates prints.
const bpftraceLine = `tracepoint:sock:inet_sock_set_state { printf("%d %s %d %d %d %d\n", pid, comm, args->sport, args->dport, args->oldstate, args->newstate); }`

// contenders are finwait and those of its peers that this machine has; missing says which
// it does not have.
func contenders(finwait string) (list []contender, missing []string) {
	list = []contender{
		{name: "finwait", command: []string{finwait, "-o", "json"}, state: "on_state", ours: true},
		{name: "tcpstates", command: []string{"tcpstates"}, perConn: changes},
		{name: "tcplife", command: []string{"tcplife"}, perConn: 2},
		{name: "bpftrace", command: []string{"bpftrace", "-e", bpftraceLine}, perConn: changes},
	}
	kept := list[:0]
	for _, c := range list {
		// Debian has the peers in /usr/sbin, which is not in every PATH.
		path, err := exec.LookPath(c.command[0])
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + c.command[0])
		}
		if err != nil {
			missing = append(missing, c.name)
			continue
		}
		c.command[0] = path
		kept = append(kept, c)
	}
	return kept, missing
}

// changes is how many state changes one connection of the load has: connect and its
// answer, FIN_WAIT1, FIN_WAIT2, CLOSE at one end; SYN_RECV, ESTABLISHED, CLOSE_WAIT,
// LAST_ACK, CLOSE at the other.
const changes = 10

// rows is what a contender's output holds.
type rows struct {
	all       int // of whatever on the host
	load      int // of the load's own connections
	timeWaits int // ours: entries into TIME_WAIT among these
	last      []byte
}

// count reads a contender's output.
func (c *contender) count(path string) (r rows, err error) {
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	entry := []byte(`"new_state":"TIME_WAIT"`)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, fmt.Errorf("read %s: %w", path, err)
		}
		if c.ours && !bytes.HasPrefix(line, []byte(`{"type":"transition"`)) {
			r.last = bytes.Clone(line)
			continue
		}
		r.all++
		if !c.ofLoad(line) {
			continue
		}
		r.load++
		if c.ours && bytes.Contains(line, entry) {
			r.timeWaits++
		}
	}
}

// ofLoad reports whether a row is about one of the load's ports.
func (c *contender) ofLoad(line []byte) bool {
	if c.ours {
		return bytes.Contains(line, ourPort)
	}
	for field := range bytes.FieldsSeq(line) {
		if len(field) == 5 && bytes.HasPrefix(field, loadPorts) {
			return true
		}
	}
	return false
}

// The load's ports, all but their last two digits.
var (
	loadPorts = []byte("214")
	ourPort   = append([]byte(`"port":`), loadPorts...)
)
