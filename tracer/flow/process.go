// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// Namer completes a process as soon as the first sample names it: it may be gone a
// moment later. It is called once for each process and cgroup, and must not block.
type Namer interface {
	Name(p *event.Process, cgroup uint64)
}

// name numbers a process; 0 is none.
type name uint32

// processes keeps one value for each process that samples name, so that thousands of
// connections of one server share it. Bounded: when there are many, those that no
// connection has are forgotten.
type processes struct {
	namer Namer
	inUse func(used []bool) // tells which names somebody has
	byKey map[processKey]name
	list  []*event.Process // by name
	free  []name           // names that may be given again
	most  int              // how many there may be before some are forgotten
	last  [64]struct {
		key  processKey
		name name
	} // of those that come again and again, by their pid
}

type processKey struct {
	start, cgroup uint64
	pid, tid, uid uint32
	comm, thread  event.Comm
	signal        uint8
}

const maxProcesses = 65536

func newProcesses(namer Namer) processes {
	return processes{namer: namer, byKey: map[processKey]name{}, list: []*event.Process{{}}, most: maxProcesses}
}

// at returns the process; an empty one for none.
func (ps *processes) at(n name) *event.Process { return ps.list[n] }

func (ps *processes) intern(s *event.Sample) name {
	o := &s.Owner
	k := processKey{
		start: o.StartNS, cgroup: s.Cgroup, pid: o.PID, tid: o.TID, uid: o.UID,
		comm: o.Comm, thread: o.Thread,
	}
	if s.Has(event.FlagExiting) {
		k.signal = uint8(o.ExitCode & 0x7f)
	}
	last := &ps.last[k.tid%uint32(len(ps.last))]
	if last.name != 0 && last.key == k {
		return last.name
	}
	n, ok := ps.byKey[k]
	if !ok {
		n = ps.add(k, &event.Process{
			PID: o.PID, TID: o.TID, UID: o.UID, StartNS: o.StartNS,
			Comm: o.Comm, Thread: o.Thread, Signal: k.signal,
		})
	}
	last.key, last.name = k, n
	return n
}

// nobody stands for an owner that is not known: the socket's cgroup is, all the same.
func (ps *processes) nobody(cgroup uint64) name {
	if ps.namer == nil || cgroup == 0 {
		return 0
	}
	k := processKey{cgroup: cgroup}
	if n, ok := ps.byKey[k]; ok {
		return n
	}
	return ps.add(k, &event.Process{})
}

func (ps *processes) add(k processKey, p *event.Process) name {
	if len(ps.byKey) >= ps.most {
		ps.forget()
	}
	if ps.namer != nil {
		ps.namer.Name(p, k.cgroup)
	}
	n := name(len(ps.list))
	if last := len(ps.free) - 1; last >= 0 {
		n, ps.free = ps.free[last], ps.free[:last]
		ps.list[n] = p
	} else {
		ps.list = append(ps.list, p)
	}
	ps.byKey[k] = n
	return n
}

// forget takes the names back that nobody has.
func (ps *processes) forget() {
	used := make([]bool, len(ps.list))
	ps.inUse(used)
	for k, n := range ps.byKey {
		if !used[n] {
			delete(ps.byKey, k)
			ps.list[n] = nil
			ps.free = append(ps.free, n)
		}
	}
	clear(ps.last[:])
	ps.most = max(maxProcesses, 2*len(ps.byKey))
}

// named tells which names are in use: connections have them, and samples that wait.
func (f *Flow) named(used []bool) {
	f.store.each(func(c *conn) {
		used[c.owner], used[c.next], used[c.peer] = true, true, true
	})
	f.window.each(func(d *due) { used[d.who] = true })
}
