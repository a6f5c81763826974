// SPDX-License-Identifier: Apache-2.0

package event

import "time"

// SchemaVersion is the version of the records; it changes when a field changes its meaning or goes away.
const SchemaVersion = 1

// Start is the first record of a trace: what was traced, where and how.
type Start struct {
	KTime       int64
	Clock       Clock
	Version     string
	CommandLine []string
	Host        string
	Kernel      string
	Arch        string
	BootID      string
	Tick        time.Duration // length of a jiffy: 1/HZ
	Probe       string        // how TIME_WAIT is watched: fentry or timer
	ProbeReason string        // why not the better one; empty if it is
	Hooks       []Hook
	Namespaces  []Namespace
	Sockets     int // that existed already
	TimeWaits   int
	Part        Part // of a recording in several files
}

// Part says which piece of a recording a file is. The zero value: it is all of it.
type Part struct {
	Number int   // from 1 on
	Began  int64 // ktime at which the first part began; with the boot it names the recording
}

// Hook is one attach point and what became of it.
type Hook struct {
	Name, Attached, Lost string // Attached is empty when it is missing; Lost says what that costs
	Error                string
}

// Namespace is a network namespace and its TCP settings.
type Namespace struct {
	Inode    uint32
	Settings map[string]string
}

// End is the last record of a trace: totals, losses, and whether it is complete.
type End struct {
	KTime       int64
	Elapsed     time.Duration
	Transitions uint64
	Closes      uint64 // connection ends that began to close
	Errors      uint64 // connects that failed
	Born        uint64 // mini-sockets
	Open        int    // TIME_WAITs still alive, orphans' FIN_WAIT2 included
	Lost        map[LossReason]uint64
	PickedUp    uint64 // events that interrupted a program, picked up by its second instance
	Kernel      []KernelCounters
}

// Add puts the totals of the next part of the same recording to those of the ones before.
func (e *End) Add(next *End) {
	e.KTime, e.Open, e.Kernel = next.KTime, next.Open, next.Kernel
	e.Elapsed += next.Elapsed
	e.Transitions += next.Transitions
	e.Closes += next.Closes
	e.Errors += next.Errors
	e.Born += next.Born
	e.PickedUp += next.PickedUp
	if e.Lost == nil {
		e.Lost = map[LossReason]uint64{}
	}
	for r, n := range next.Lost {
		e.Lost[r] += n
	}
}

// Complete reports whether nothing was lost.
func (e *End) Complete() bool {
	for _, n := range e.Lost {
		if n > 0 {
			return false
		}
	}
	return true
}
