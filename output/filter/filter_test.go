// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"net/netip"
	"testing"

	"finwait/tracer/event"
)

func TestSocket(t *testing.T) {
	base := event.Socket{
		Cookie: 1, NetNS: 7, Family: 4,
		Local: netip.MustParseAddrPort("10.0.0.1:5000"), Peer: netip.MustParseAddrPort("10.9.0.2:80"),
	}
	six := base
	six.Family, six.Local, six.Peer = 6, netip.MustParseAddrPort("[2001:db8::1]:5000"), netip.MustParseAddrPort("[2001:db8::2]:80")
	p := event.Process{PID: 812, Comm: event.MakeComm("nginx"), Cgroup: "/system.slice/nginx.service", Container: "abcdef"}
	long := p
	long.Comm = event.MakeComm("a-name-that-the-kernel-cuts")
	root := p
	root.Cgroup = "/"
	ports := func(first, last uint16) event.PortRange { return event.PortRange{First: first, Last: last} }
	for _, tc := range []struct {
		name   string
		filter Filter
		socket event.Socket
		proc   event.Process
		want   bool
	}{
		{"all", Filter{}, base, p, true},
		{"all, nobody's", Filter{}, base, event.Process{}, true},
		{"pid", Filter{PID: 812}, base, p, true},
		{"another pid", Filter{PID: 813}, base, p, false},
		{"pid of nobody's", Filter{PID: 812}, base, event.Process{}, false},
		{"comm", Filter{Comm: "nginx"}, base, p, true},
		{"comm is whole", Filter{Comm: "ngin"}, base, p, false},
		{"comm as the kernel cuts it", Filter{Comm: "a-name-that-the"}, base, long, true},
		{"cgroup", Filter{Cgroup: "/system.slice/nginx.service"}, base, p, true},
		{"cgroup above", Filter{Cgroup: "/system.slice"}, base, p, true},
		{"cgroup above, with a slash", Filter{Cgroup: "/system.slice/"}, base, p, true},
		{"cgroup root", Filter{Cgroup: "/"}, base, p, true},
		{"cgroup root itself", Filter{Cgroup: "/"}, base, root, true},
		{"cgroup that begins alike", Filter{Cgroup: "/system.slice/nginx"}, base, p, false},
		{"cgroup below", Filter{Cgroup: "/system.slice/nginx.service/x"}, base, p, false},
		{"cgroup not known", Filter{Cgroup: "/"}, base, event.Process{}, false},
		{"container", Filter{Container: "abcdef"}, base, p, true},
		{"container, the beginning", Filter{Container: "abc"}, base, p, true},
		{"container, the end", Filter{Container: "def"}, base, p, false},
		{"no container", Filter{Container: "a"}, base, event.Process{}, false},
		{"local port", Filter{LocalPort: ports(5000, 5000)}, base, p, true},
		{"local port, range", Filter{LocalPort: ports(4999, 5001)}, base, p, true},
		{"local port below", Filter{LocalPort: ports(4000, 4999)}, base, p, false},
		{"local port above", Filter{LocalPort: ports(5001, 6000)}, base, p, false},
		{"peer port", Filter{PeerPort: ports(80, 80)}, base, p, true},
		{"ports are not mixed up", Filter{PeerPort: ports(5000, 5000)}, base, p, false},
		{"local network", Filter{Local: netip.MustParsePrefix("10.0.0.0/24")}, base, p, true},
		{"another local network", Filter{Local: netip.MustParsePrefix("10.9.0.0/24")}, base, p, false},
		{"peer network", Filter{Peer: netip.MustParsePrefix("10.9.0.2/32")}, base, p, true},
		{"another peer network", Filter{Peer: netip.MustParsePrefix("10.9.0.3/32")}, base, p, false},
		{"every IPv4 address", Filter{Peer: netip.MustParsePrefix("0.0.0.0/0")}, base, p, true},
		{"every IPv4 address is no IPv6 one", Filter{Peer: netip.MustParsePrefix("0.0.0.0/0")}, six, p, false},
		{"IPv6 network", Filter{Peer: netip.MustParsePrefix("2001:db8::/32")}, six, p, true},
		{"IPv4", Filter{Family: 4}, base, p, true},
		{"IPv4, not IPv6", Filter{Family: 4}, six, p, false},
		{"IPv6", Filter{Family: 6}, six, p, true},
		{"namespace", Filter{NetNS: 7}, base, p, true},
		{"another namespace", Filter{NetNS: 8}, base, p, false},
		{"all at once", Filter{PID: 812, Comm: "nginx", Family: 4, NetNS: 7, LocalPort: ports(5000, 5000)}, base, p, true},
		{"all but one", Filter{PID: 812, Comm: "nginx", Family: 4, NetNS: 7, LocalPort: ports(5001, 5001)}, base, p, false},
		{"a verdict is not the socket's", Filter{Closer: event.CloserPeer}, base, p, true},
	} {
		if got := tc.filter.Socket(&tc.socket, &tc.proc); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		filter    Filter
		closer    event.Closer
		method    event.Method
		want, any bool
	}{
		{Filter{}, event.CloserUnknown, event.MethodUnknown, true, true},
		{Filter{}, event.CloserPeer, event.MethodRst, true, true},
		{Filter{PID: 1}, event.CloserPeer, event.MethodRst, true, true},
		{Filter{Closer: event.CloserLocal}, event.CloserLocal, event.MethodExit, true, false},
		{Filter{Closer: event.CloserLocal}, event.CloserPeer, event.MethodFin, false, false},
		{Filter{Closer: event.CloserLocal}, event.CloserUnknown, event.MethodUnknown, false, false},
		{Filter{Method: event.MethodLinger0}, event.CloserLocal, event.MethodLinger0, true, false},
		{Filter{Method: event.MethodLinger0}, event.CloserLocal, event.MethodClose, false, false},
		{Filter{Closer: event.CloserPeer, Method: event.MethodRst}, event.CloserPeer, event.MethodRst, true, false},
		{Filter{Closer: event.CloserPeer, Method: event.MethodRst}, event.CloserPeer, event.MethodFin, false, false},
	} {
		if got := tc.filter.Verdict(tc.closer, tc.method); got != tc.want {
			t.Errorf("%+v: %v %v: %v, want %v", tc.filter, tc.closer, tc.method, got, tc.want)
		}
		if got := tc.filter.AnyVerdict(); got != tc.any {
			t.Errorf("%+v: AnyVerdict = %v, want %v", tc.filter, got, tc.any)
		}
	}
}
