// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"finwait/tracer/event"
)

// Reading is what the kernel itself has counted in one network namespace. It was read
// at some moment between Before and After, CLOCK_MONOTONIC, nanoseconds.
type Reading struct {
	NetNS         uint32
	Before, After int64
	Counters      [event.CounterEnd]int64 // event.Unknown where this kernel has no such counter
	file          uint64                  // inode of the namespace's own /proc/net/netstat
}

// Witness is a Handler that is shown the kernel's own counters when the trace ends: after
// the last sample that it was handed, and just before everything is detached.
type Witness interface {
	Witness([]Reading)
}

// read reads the counters; the calling thread must be in the namespace.
func (ns *Namespace) read() (Reading, error) {
	// Not /proc/net: that is the namespace of the process's first thread.
	return readCounters("/proc/thread-self/net/netstat", ns.Inode)
}

func readCounters(path string, netns uint32) (Reading, error) {
	r := Reading{NetNS: netns}
	f, err := os.Open(path)
	if err != nil {
		return r, fmt.Errorf("read the kernel's counters: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return r, fmt.Errorf("read the kernel's counters: %w", err)
	}
	r.file, r.Before = st.Ino, Now()
	text, err := io.ReadAll(f)
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

// readings reads the counters of the namespaces that the seed has read. Anybody may read
// /proc/PID/net, and each namespace has files of its own there, told by their inode
// numbers: so this works after privileges are given up. A namespace that no process is in
// must be entered.
func (t *Tracer) readings() []Reading {
	if len(t.seed.Readings) == 0 {
		return nil
	}
	missing := make(map[uint64]uint32, len(t.seed.Readings))
	for _, r := range t.seed.Readings {
		missing[r.file] = r.NetNS
	}
	var list []Reading
	try := func(path string) {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			return
		}
		netns, wanted := missing[st.Ino]
		if !wanted {
			return
		}
		// The process may have gone elsewhere since: what was opened tells.
		if r, err := readCounters(path, netns); err == nil && r.file == st.Ino {
			list = append(list, r)
			delete(missing, st.Ino)
		}
	}
	try("/proc/thread-self/net/netstat")
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return list
	}
	for _, p := range procs {
		if len(missing) == 0 {
			return list
		}
		try(p + "/net/netstat")
	}
	left := make(map[uint32]bool, len(missing))
	for _, netns := range missing {
		left[netns] = true
	}
	for i := range t.seed.Namespaces {
		ns := &t.seed.Namespaces[i]
		if !left[ns.Inode] {
			continue
		}
		ns.enter(func() error {
			r, err := ns.read()
			if _, wanted := missing[r.file]; err == nil && wanted {
				list = append(list, r)
			}
			return err
		})
	}
	return list
}
