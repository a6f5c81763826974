// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// userHZ is the unit of times in /proc/PID/stat on every Linux architecture in use.
const userHZ = 100

// stat is the part of /proc/PID/stat that the bench wants.
type stat struct {
	zombie    bool
	user, sys time.Duration
}

func readStat(pid int) (s stat, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:]) // from the third on
	if len(fields) < 13 {
		return s, fmt.Errorf("read /proc/%d/stat: too short", pid)
	}
	s.zombie = fields[0][0] == 'Z' || fields[0][0] == 'X'
	for at, to := range map[int]*time.Duration{14 - 3: &s.user, 15 - 3: &s.sys} {
		ticks, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil {
			return s, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
		}
		*to = time.Duration(ticks) * time.Second / userHZ
	}
	return s, nil
}

// resident is a process's memory, in bytes. It is the proportional set size: the ring is
// mapped twice, one copy behind the other, and would count twice.
func resident(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read /proc/%d/smaps_rollup: no Pss", pid)
}
