// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"testing"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// TestFeatureFilters: the kernel side leaves out what is not wanted, whichever end it is
// seen from, and nothing else.
func TestFeatureFilters(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	loopback6 := netip.MustParsePrefix("::1/128")
	loopback4 := netip.MustParsePrefix("127.0.0.0/8")
	all := event.PortRange{First: 1, Last: 65535}
	cases := []struct {
		name   string
		filter tracer.Filter
		v4, v6 bool
	}{
		{"IPv4", tracer.Filter{Family: 4}, true, false},
		{"IPv6", tracer.Filter{Family: 6}, false, true},
		{"an IPv6 peer", tracer.Filter{Peer: loopback6}, false, true},
		{"an IPv4 address of ours, any port", tracer.Filter{Local: loopback4, LocalPort: all}, true, false},
		{"a peer's port that nobody has", tracer.Filter{PeerPort: event.PortRange{First: 1, Last: 2}}, false, false},
	}
	rigs := make([]*rig, len(cases))
	for i, c := range cases {
		rigs[i] = traceLab(t, ctx, lab, tracer.Options{Filter: c.filter, MaxSockets: 1024, RingBytes: 1 << 20})
	}
	if _, err := lab.Run(ctx, workload.ClientFirst); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Run(ctx, workload.IPv6); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		r := rigs[i]
		r.settled(nil)
		r.finish()
		ends := map[uint8]map[netip.AddrPort]bool{4: {}, 6: {}}
		for j := range r.rows {
			ends[r.rows[j].Family][r.rows[j].Local] = true
		}
		for family, want := range map[uint8]bool{4: c.v4, 6: c.v6} {
			if got := len(ends[family]); got != 0 && got != 2 || want != (got == 2) {
				t.Errorf("%s: %d ends of the IPv%d connection were seen, wanted %v", c.name, got, family, want)
			}
		}
	}
}
