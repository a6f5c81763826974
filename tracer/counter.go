// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"finwait/tracer/event"
)

// Reading is what the kernel itself has counted in one network namespace. It was read
// at some moment between Before and After, CLOCK_MONOTONIC, nanoseconds.
type Reading struct {
	NetNS         uint32
	Before, After int64
	Counters      [event.CounterEnd]int64 // event.Unknown where this kernel has no such counter
}

// Witness is a Handler that is shown the kernel's own counters when the trace ends: after
// the last sample that it was handed, and just before everything is detached.
type Witness interface {
	Witness([]Reading)
}

// read reads the counters; the calling thread must be in the namespace.
func (ns *Namespace) read() (Reading, error) {
	r := Reading{NetNS: ns.Inode, Before: Now()}
	// Not /proc/net: that is the namespace of the process's first thread.
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	r.After = Now()
	if err != nil {
		return r, fmt.Errorf("read the kernel's counters: %w", err)
	}
	r.Counters, err = parseCounters(string(text))
	return r, err
}

// parseCounters finds the pair of lines that begin with TcpExt: names, then values.
func parseCounters(text string) (c [event.CounterEnd]int64, err error) {
	for i := range c {
		c[i] = event.Unknown
	}
	var names []string
	for line := range strings.Lines(text) {
		field := strings.Fields(line)
		if len(field) == 0 || field[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = field
			continue
		}
		if len(field) != len(names) {
			break
		}
		for i, name := range names {
			counter, known := event.ParseCounter(name)
			if !known {
				continue
			}
			if c[counter], err = strconv.ParseInt(field[i], 10, 64); err != nil {
				return c, fmt.Errorf("read the kernel's counter %s: %w", name, err)
			}
		}
		return c, nil
	}
	return c, errors.New("read the kernel's counters: no TcpExt lines that match")
}

// readings reads the counters of the namespaces that the seed has read.
func (t *Tracer) readings() []Reading {
	if len(t.seed.Readings) == 0 {
		return nil
	}
	listed, err := listNamespaces()
	if err != nil {
		return nil
	}
	seeded := map[uint32]bool{}
	for _, r := range t.seed.Readings {
		seeded[r.NetNS] = true
	}
	var list []Reading
	for _, ns := range listed {
		if !seeded[ns.Inode] {
			continue
		}
		ns.enter(func() error {
			r, err := ns.read()
			if err == nil {
				list = append(list, r)
			}
			return err
		})
	}
	return list
}
