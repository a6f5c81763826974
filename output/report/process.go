// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"

	"finwait/tracer/event"
)

// program is what its processes are one of: workers of one service in one container.
type program struct {
	comm      event.Comm
	container string
}

// process collects the processes of a program.
type process struct {
	program
	exe    string
	cgroup string
	pids   []uint32
	more   bool // further process ids
	server bool // it accepts connections too
}

const maxPIDs = 8

// unknownProgram and otherPrograms are the first two entries of every table.
const (
	unknownProgram uint32 = iota
	otherPrograms         // did not fit
)

// processes numbers programs, so that connections need not carry their names.
type processes struct {
	max    int
	index  map[program]uint32
	list   []*process
	folded uint64 // sightings that did not fit

	// The last one seen: records of one process come in runs.
	last   program
	lastID uint32
}

func newProcesses(max int) processes {
	return processes{max: max, index: map[program]uint32{}, list: []*process{{}, {program: program{comm: event.MakeComm("(others)")}}}}
}

func (ps *processes) intern(p *event.Process) uint32 {
	if !p.Known() {
		return unknownProgram
	}
	key := program{p.Comm, p.Container}
	id := ps.lastID
	if id == unknownProgram || key != ps.last {
		var ok bool
		if id, ok = ps.index[key]; !ok {
			if len(ps.list) >= ps.max {
				ps.folded++
				return otherPrograms
			}
			id = uint32(len(ps.list))
			ps.index[key] = id
			ps.list = append(ps.list, &process{program: key})
		}
		ps.last, ps.lastID = key, id
	}
	x := ps.list[id]
	if x.exe == "" {
		x.exe = p.Exe
	}
	if x.cgroup == "" {
		x.cgroup = p.Cgroup
	}
	if n := len(x.pids); (n == 0 || x.pids[n-1] != p.PID) && !slices.Contains(x.pids, p.PID) {
		if n < maxPIDs {
			x.pids = append(x.pids, p.PID)
		} else {
			x.more = true
		}
	}
	return id
}
