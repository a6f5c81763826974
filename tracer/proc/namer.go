// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"

	"finwait/tracer/event"
)

// Namer completes processes; it implements flow.Namer.
type Namer struct {
	root    string
	cgroups *cgroups
	exes    map[exeKey]string
	buf     []byte
	Misses  uint64 // processes that were gone before their program file could be read
}

type exeKey struct {
	pid   uint32
	start uint64
}

const maxExes = 16384

// New returns a Namer that reads the proc file system mounted at root ("/proc").
func New(root string) *Namer {
	return &Namer{root: root, cgroups: newCgroups(root), exes: map[exeKey]string{}, buf: make([]byte, 4096)}
}

// Name fills in p.Exe, p.Cgroup and p.Container as far as they can be known now.
func (n *Namer) Name(p *event.Process, cgroup uint64) {
	p.Exe = n.exe(p)
	p.Cgroup = n.cgroups.path(cgroup)
	p.Container = ContainerID(p.Cgroup)
}

func (n *Namer) exe(p *event.Process) string {
	k := exeKey{p.PID, p.StartNS}
	if exe, ok := n.exes[k]; ok {
		return exe
	}
	if len(n.exes) >= maxExes {
		clear(n.exes)
	}
	dir := filepath.Join(n.root, strconv.FormatUint(uint64(p.PID), 10))
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	// The pid may have a new owner by now: only the start time tells, read afterwards.
	if err != nil || !n.startedAt(dir, p.StartNS) {
		n.Misses++
		exe = ""
	}
	n.exes[k] = exe
	return exe
}

// userHZ is the unit of times in /proc/PID/stat on every Linux architecture in use.
const userHZ = 100

// startedAt compares with field 22 of /proc/PID/stat. Field 2, the name in
// parentheses, may hold anything, so fields are counted after the last ')'.
func (n *Namer) startedAt(dir string, startNS uint64) bool {
	f, err := os.Open(filepath.Join(dir, "stat"))
	if err != nil {
		return false
	}
	defer f.Close()
	m, err := f.Read(n.buf)
	if err != nil {
		return false
	}
	b := n.buf[:m]
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return false
	}
	fields := bytes.Fields(b[i+1:])
	const startField = 22 - 3
	if len(fields) <= startField {
		return false
	}
	ticks, err := strconv.ParseUint(string(fields[startField]), 10, 64)
	return err == nil && ticks == startNS/(1e9/userHZ)
}
