// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSegmentRoundTrip(t *testing.T) {
	base := segment{
		source: netip.MustParseAddrPort("10.83.0.2:80"), dest: netip.MustParseAddrPort("10.83.0.1:40000"),
		seq: 0xfffffff0, ack: 7, flags: flagFin | flagAck,
	}
	stamped := base
	stamped.stamped, stamped.stamp, stamped.echoing = true, 3, 4
	from, to := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	for _, want := range []segment{base, stamped} {
		frame := want.marshal(from, to)
		got, ok := parseSegment(frame)
		if !ok || got != want {
			t.Errorf("parsed %v %+v, want %+v", ok, got, want)
		}
		// A checksum over itself is zero.
		ip := frame[ethernetLen:]
		if sum := checksum(0, ip[:ipLen]); sum != 0 {
			t.Errorf("IP checksum is off by %#x", sum)
		}
		if sum := checksum(uint32(6+len(ip)-ipLen), ip[12:]); sum != 0 {
			t.Errorf("TCP checksum is off by %#x", sum)
		}
		for n := range frame {
			parseSegment(frame[:n]) // must not panic
		}
	}
}

func TestParseNetstat(t *testing.T) {
	text := "TcpExt: TW TWKilled\nTcpExt: 3 18446744073709551615\nIpExt: InNoRoutes\nIpExt: 1\n"
	got, err := parseNetstat(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"TW": 3, "TWKilled": 1<<64 - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters differ (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "TcpExt: TW\n", "TcpExt: TW\nTcpExt: 1 2\n", "TcpExt: TW\nTcpExt: x\n"} {
		if _, err := parseNetstat(bad); err == nil {
			t.Errorf("parsed %q without an error", bad)
		}
	}
}

func TestSpreadCarries(t *testing.T) {
	got := spread(netip.MustParseAddr("127.200.255.250"), 10, 80)
	if want := netip.MustParseAddrPort("127.201.0.4:80"); got != want {
		t.Errorf("spread gives %s, want %s", got, want)
	}
}

func TestKinds(t *testing.T) {
	for i, k := range Kinds() {
		if back, ok := kindOf(k.code()); k.code() != i || !ok || back != k {
			t.Errorf("%s has code %d, want %d", k, k.code(), i)
		}
		if k.Story() == "" {
			t.Errorf("%s has no story", k)
		}
	}
	if Kind("nonsense").code() != -1 || Kind("nonsense").Story() != "" {
		t.Error("an unknown kind has a code or a story")
	}
}

func TestJoin(t *testing.T) {
	client := Side{Local: netip.MustParseAddrPort("127.0.0.1:1"), Peer: netip.MustParseAddrPort("127.0.0.2:2")}
	server := Side{Local: client.Peer, Peer: client.Local}
	clients := []half{{ID: 1, Kind: ClientFirst, Side: client}}
	for name, servers := range map[string][]half{
		"nobody accepted":   nil,
		"accepted twice":    {{ID: 1, Side: server}, {ID: 1, Side: server}},
		"another's":         {{ID: 1, Side: server}, {ID: 2, Side: server}},
		"does not mirror":   {{ID: 1, Side: client}},
		"of another client": {{ID: 2, Side: server}},
	} {
		if _, err := join(clients, servers); err == nil {
			t.Errorf("%s: joined without an error", name)
		}
	}
	closes, err := join(clients, []half{{ID: 1, Side: server}})
	if err != nil || len(closes) != 1 || *closes[0].Server != server {
		t.Errorf("joined %+v, %v", closes, err)
	}
}
