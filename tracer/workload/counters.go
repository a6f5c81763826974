// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

var watched = []string{
	"TW", "TWKilled", "TWRecycled", "TCPTimeWaitOverflow",
	"TCPAbortOnClose", "TCPAbortOnData", "TCPAbortOnTimeout",
	"TCPAbortOnLinger", "TCPAbortOnMemory", "TCPAbortFailed",
}

// readCounters reads the watched TcpExt counters of the calling thread's namespace.
// /proc/net would be the process's: /proc/net is self/net, and self is the leader.
func readCounters() (map[string]uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		return nil, fmt.Errorf("read kernel counters: %w", err)
	}
	all, err := parseNetstat(string(text))
	if err != nil {
		return nil, err
	}
	counters := make(map[string]uint64, len(watched))
	for _, name := range watched {
		value, ok := all[name]
		if !ok {
			return nil, fmt.Errorf("read kernel counters: TcpExt has no %s", name)
		}
		counters[name] = value
	}
	return counters, nil
}

// parseNetstat returns the TcpExt pair of lines: names, then values.
func parseNetstat(text string) (map[string]uint64, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = fields[1:]
			continue
		}
		if len(fields)-1 != len(names) {
			break
		}
		values := make(map[string]uint64, len(names))
		for i, name := range names {
			v, err := strconv.ParseUint(fields[i+1], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("parse TcpExt %s: %w", name, err)
			}
			values[name] = v
		}
		return values, nil
	}
	return nil, fmt.Errorf("parse TcpExt: no matching lines of names and values")
}

func since(before, after map[string]uint64) map[string]uint64 {
	delta := make(map[string]uint64, len(after))
	for name, value := range after {
		delta[name] = value - before[name]
	}
	return delta
}
