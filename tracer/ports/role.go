// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"net/netip"

	"finwait/tracer/event"
)

// listeners are the listening sockets of a look.
type listeners map[listener]bool

type listener struct {
	netns uint32
	addr  netip.Addr // unspecified: every address
	port  uint16
}

func listening(sockets []event.Seen) listeners {
	l := listeners{}
	for i := range sockets {
		if s := &sockets[i]; s.State == event.Listen {
			addr := s.Local.Addr()
			if addr.IsUnspecified() {
				addr = netip.Addr{} // of either family: an IPv6 one takes IPv4 too
			}
			l[listener{s.NetNS, addr, s.Local.Port()}] = true
		}
	}
	return l
}

func (l listeners) has(s *event.Seen) bool {
	k := listener{s.NetNS, s.Local.Addr(), s.Local.Port()}
	if l[k] {
		return true
	}
	k.addr = netip.Addr{}
	return l[k]
}

// Roles fills in which end of each connection called connect(), as far as a look can tell.
func Roles(look *event.Look) {
	l := listening(look.Sockets)
	for i := range look.Sockets {
		look.Sockets[i].Role = l.role(&look.Sockets[i])
	}
}

// role tells which end called connect(), as far as a look can tell: the kernel marks a
// port that connect() has chosen itself, and a connection that a listening socket made has
// that one's backlog, or still its port.
func (l listeners) role(s *event.Seen) event.Role {
	switch {
	case s.State == event.Listen || s.State == event.Close:
		return event.RoleUnknown
	case s.State == event.SynSent:
		return event.Client
	case s.State == event.SynRecv || s.Has(event.SeenBacklog):
		return event.Server
	case !s.Has(event.SeenBound):
		return event.Client
	case l.has(s):
		return event.Server
	case s.Has(event.SeenMini):
		return event.RoleUnknown // a server's that has gone, or a client's that called bind()
	}
	return event.Client // it called bind() before connect()
}
