// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"strconv"
	"strings"

	"finwait/tracer/event"
)

// Range is the local ports that connect() may choose: ip_local_port_range without
// ip_local_reserved_ports. The zero value is not known, and has no port.
type Range struct {
	event.PortRange
	reserved []event.PortRange
	Reserved int64 // ports of the range that are reserved
	Capacity int64
}

// Of returns the range of a namespace's settings; false where they do not tell it. A list
// of reserved ports that is not known is taken to be empty.
func Of(settings map[string]string) (r Range, ok bool) {
	f := strings.Fields(settings["ip_local_port_range"])
	if len(f) != 2 {
		return r, false
	}
	if r.PortRange, ok = parse(f[0], f[1]); !ok {
		return Range{}, false
	}
	// 8080,9000-9010
	for _, item := range strings.Split(settings["ip_local_reserved_ports"], ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			last = first
		}
		if p, ok := parse(first, last); ok {
			r.reserved = append(r.reserved, p)
			if from, to := max(p.First, r.First), min(p.Last, r.Last); from <= to {
				r.Reserved += int64(to) - int64(from) + 1
			}
		}
	}
	r.Capacity = int64(r.Last) - int64(r.First) + 1 - r.Reserved
	return r, true
}

func parse(first, last string) (r event.PortRange, ok bool) {
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a > b || b == 0 {
		return r, false
	}
	return event.PortRange{First: uint16(a), Last: uint16(b)}, true
}

// Has reports whether connect() may choose the port.
func (r *Range) Has(port uint16) bool {
	if port < r.First || port > r.Last || r.Last == 0 {
		return false
	}
	for _, p := range r.reserved {
		if port >= p.First && port <= p.Last {
			return false
		}
	}
	return true
}
