// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"finwait/tracer/event"
)

// memory is how two words lie in memory, in hexadecimal.
func memory(w [2]uint64) string {
	b := binary.NativeEndian.AppendUint64(nil, w[0])
	return hex.EncodeToString(binary.NativeEndian.AppendUint64(b, w[1]))
}

func TestPrefix(t *testing.T) {
	const mapped = "00000000000000000000ffff"
	f, z := func(n int) string { return strings.Repeat("f", n) }, func(n int) string { return strings.Repeat("0", n) }
	for _, tc := range []struct{ prefix, addr, mask string }{
		{"", z(32), z(32)},
		{"10.0.0.0/8", mapped + "0a000000", f(24) + "ff000000"},
		{"10.1.2.3/8", mapped + "0a000000", f(24) + "ff000000"}, // what is beyond the mask cannot matter
		{"10.1.2.3/32", mapped + "0a010203", f(32)},
		{"10.1.2.255/25", mapped + "0a010280", f(24) + "ffffff80"},
		{"0.0.0.0/0", mapped + z(8), f(24) + z(8)}, // every IPv4 address, and no other
		{"::ffff:10.0.0.0/104", mapped + "0a000000", f(24) + "ff000000"},
		{"::/0", z(32), z(32)},
		{"2001:db8::/32", "20010db8" + z(24), f(8) + z(24)},
		{"2001:db8:1:2:3:4:5:6/65", "20010db800010002" + z(16), f(16) + "8" + z(15)},
		{"2001:db8:1:2:8003:4:5:6/65", "20010db800010002" + "8" + z(15), f(16) + "8" + z(15)},
		{"::1/128", z(31) + "1", f(32)},
	} {
		var p netip.Prefix
		if tc.prefix != "" {
			p = netip.MustParsePrefix(tc.prefix)
		}
		addr, mask := prefix(p)
		if got := memory(addr); got != tc.addr {
			t.Errorf("%q: address %s, want %s", tc.prefix, got, tc.addr)
		}
		if got := memory(mask); got != tc.mask {
			t.Errorf("%q: mask %s, want %s", tc.prefix, got, tc.mask)
		}
	}
}

// TestPrefixAgrees: what the kernel side compares is what netip says, for either family.
func TestPrefixAgrees(t *testing.T) {
	words := func(a netip.Addr) (w [2]uint64) {
		b := a.As16()
		return [2]uint64{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
	}
	for _, p := range []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "10.1.128.0/17", "2001:db8::/33", "::1/128", "fe80::/10"} {
		pre := netip.MustParsePrefix(p)
		addr, mask := prefix(pre)
		for _, a := range []string{"10.0.0.0", "10.255.255.255", "11.0.0.0", "10.1.2.3", "10.1.2.2", "10.1.128.1", "10.1.127.1", "::1", "::", "2001:db8:7fff::", "2001:db8:8000::", "fe80::1", "febf::1", "fec0::1"} {
			ip := netip.MustParseAddr(a)
			w := words(ip)
			if got, want := w[0]&mask[0] == addr[0] && w[1]&mask[1] == addr[1], pre.Contains(ip); got != want {
				t.Errorf("%s contains %s: %v in the kernel, %v in Go", p, a, got, want)
			}
		}
	}
}

func TestPorts(t *testing.T) {
	for _, tc := range []struct {
		in   event.PortRange
		want [2]uint16
	}{
		{event.PortRange{}, [2]uint16{0, 65535}},
		{event.PortRange{First: 80, Last: 80}, [2]uint16{80, 80}},
		{event.PortRange{First: 0, Last: 1}, [2]uint16{0, 1}},
		{event.PortRange{First: 1, Last: 65535}, [2]uint16{1, 65535}},
	} {
		if got := ports(tc.in); got != tc.want {
			t.Errorf("ports(%v) = %v, want %v", tc.in, got, tc.want)
		}
		for _, port := range []uint16{0, 1, 2, 79, 80, 81, 65534, 65535} {
			in := ports(tc.in)
			if got, want := port >= in[0] && port <= in[1], tc.in.Contains(port); got != want {
				t.Errorf("%v contains %d: %v in the kernel, %v in Go", tc.in, port, got, want)
			}
		}
	}
}
