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

// exeKey has the name because execve() changes the program and leaves the rest.
type exeKey struct {
	pid   uint32
	ticks uint64 // start, in units of 1/userHZ s, as /proc tells it
	comm  event.Comm
}

const maxExes = 16384

// New returns a Namer that reads the proc file system mounted at root ("/proc").
func New(root string) *Namer {
	return &Namer{root: root, cgroups: newCgroups(root), exes: map[exeKey]string{}, buf: make([]byte, 4096)}
}

// Name fills in p.Exe, p.Cgroup and p.Container as far as they can be known now.
func (n *Namer) Name(p *event.Process, cgroup uint64) {
	if p.Known() {
		p.Exe = n.exe(p)
	}
	p.Cgroup = n.cgroups.path(cgroup)
	p.Container = ContainerID(p.Cgroup)
}

func (n *Namer) exe(p *event.Process) string {
	k := exeKey{p.PID, p.StartNS / (1e9 / userHZ), p.Comm}
	if exe, ok := n.exes[k]; ok {
		return exe
	}
	if len(n.exes) >= maxExes {
		clear(n.exes)
	}
	dir := filepath.Join(n.root, strconv.FormatUint(uint64(p.PID), 10))
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	// The pid may have a new owner by now, or the process may be another program: the
	// start time and the name tell, read afterwards.
	if err != nil || !n.isStill(dir, p) {
		n.Misses++
		exe = ""
	}
	n.exes[k] = exe
	return exe
}

// userHZ is the unit of times in /proc/PID/stat on every Linux architecture in use.
const userHZ = 100

func (n *Namer) isStill(dir string, p *event.Process) bool {
	comm, ticks, ok := n.stat(dir)
	if name := p.Comm.Bytes(); len(name) > 0 && !bytes.Equal(name, comm) {
		return false
	}
	return ok && ticks == p.StartNS/(1e9/userHZ)
}

// stat reads fields 2 and 22 of /proc/PID/stat: name and start. Field 2, the name in
// parentheses, may hold anything, so fields are counted after the last ')'. The name is
// valid until the next call.
func (n *Namer) stat(dir string) (comm []byte, ticks uint64, ok bool) {
	f, err := os.Open(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, 0, false
	}
	defer f.Close()
	m, err := f.Read(n.buf)
	if err != nil {
		return nil, 0, false
	}
	b := n.buf[:m]
	begin, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if begin < 0 || end < begin {
		return nil, 0, false
	}
	fields := bytes.Fields(b[end+1:])
	const startField = 22 - 3
	if len(fields) <= startField {
		return nil, 0, false
	}
	ticks, err = strconv.ParseUint(string(fields[startField]), 10, 64)
	return b[begin+1 : end], ticks, err == nil
}

// Learn remembers the program file of every process that there is, for a time when it may
// not be read any more, and every cgroup, for a time when each must be searched for. It
// returns how many processes.
func (n *Namer) Learn() (known int) {
	n.cgroups.learn()
	dirs, err := filepath.Glob(filepath.Join(n.root, "[0-9]*"))
	if err != nil {
		return 0
	}
	for _, dir := range dirs {
		pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
		if err != nil || len(n.exes) >= maxExes {
			continue
		}
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil {
			continue // a kernel thread, or gone
		}
		// Read afterwards: the id may have a new owner since.
		comm, ticks, ok := n.stat(dir)
		if !ok {
			continue
		}
		if again, err := os.Readlink(filepath.Join(dir, "exe")); err != nil || again != exe {
			continue
		}
		n.exes[exeKey{uint32(pid), ticks, event.MakeComm(string(comm))}] = exe
		known++
	}
	return known
}
