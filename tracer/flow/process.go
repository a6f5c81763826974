// SPDX-License-Identifier: Apache-2.0

package flow

import "finwait/tracer/event"

// Namer completes a process as soon as the first sample names it: it may be gone a
// moment later. It is called once for each process and cgroup, and must not block.
type Namer interface {
	Name(p *event.Process, cgroup uint64)
}

// processes keeps one value for each process that samples name, so that thousands of
// connections of one server share it. Bounded: when full, it starts afresh; values
// in use stay with their connections.
type processes struct {
	namer Namer
	byKey map[processKey]*event.Process
	last  [64]struct {
		key processKey
		p   *event.Process
	} // of those that come again and again, by their pid
}

type processKey struct {
	start, cgroup uint64
	pid, tid, uid uint32
	comm, thread  event.Comm
	signal        uint8
}

const maxProcesses = 65536

func (ps *processes) intern(s *event.Sample) *event.Process {
	o := &s.Owner
	k := processKey{
		start: o.StartNS, cgroup: s.Cgroup, pid: o.PID, tid: o.TID, uid: o.UID,
		comm: o.Comm, thread: o.Thread,
	}
	if s.Has(event.FlagExiting) {
		k.signal = uint8(o.ExitCode & 0x7f)
	}
	last := &ps.last[k.tid%uint32(len(ps.last))]
	if last.p != nil && last.key == k {
		return last.p
	}
	if p, ok := ps.byKey[k]; ok {
		last.key, last.p = k, p
		return p
	}
	if len(ps.byKey) >= maxProcesses {
		clear(ps.byKey)
	}
	p := &event.Process{
		PID: o.PID, TID: o.TID, UID: o.UID, StartNS: o.StartNS,
		Comm: o.Comm, Thread: o.Thread, Signal: k.signal,
	}
	if ps.namer != nil {
		ps.namer.Name(p, s.Cgroup)
	}
	ps.byKey[k] = p
	return p
}

// nobody stands for an owner that is not known: the socket's cgroup is, all the same.
func (ps *processes) nobody(cgroup uint64) *event.Process {
	if ps.namer == nil || cgroup == 0 {
		return nil
	}
	k := processKey{cgroup: cgroup}
	if p, ok := ps.byKey[k]; ok {
		return p
	}
	if len(ps.byKey) >= maxProcesses {
		clear(ps.byKey)
	}
	p := &event.Process{}
	ps.namer.Name(p, cgroup)
	ps.byKey[k] = p
	return p
}
