// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"net/netip"

	"finwait/tracer/event"
)

// socketTexts keeps sockets as they look as JSON: the steps of a connection towards its end
// mostly come one soon after the other.
type socketTexts [64]struct {
	s    event.Socket
	text []byte
}

// append writes what every record says of its socket, behind a field.
func (ts *socketTexts) append(b []byte, s *event.Socket) []byte {
	slot := &ts[s.Cookie%uint64(len(ts))]
	if len(slot.text) == 0 || slot.s != *s {
		slot.s, slot.text = *s, appendSocket(slot.text[:0], s)
	}
	return append(b, slot.text...)
}

func appendSocket(b []byte, s *event.Socket) []byte {
	if s.Cookie != 0 {
		b = append(b, `,"socket":{"cookie":"`...)
		b = appendUint(b, s.Cookie)
		b = append(b, `"}`...)
	}
	if s.NetNS != 0 {
		b = append(b, `,"netns":{"inode":`...)
		b = appendUint(b, uint64(s.NetNS))
		b = append(b, '}')
	}
	if s.Family == 6 {
		b = append(b, `,"network_type":"ipv6"`...)
	} else {
		b = append(b, `,"network_type":"ipv4"`...)
	}
	b = appendEndpoint(append(b, `,"local":{"address":"`...), s.Local)
	if s.Peer.Port() != 0 {
		b = appendEndpoint(append(b, `,"peer":{"address":"`...), s.Peer)
	}
	if s.Role != event.RoleUnknown {
		b = append(b, `,"role":"`...)
		b = append(b, s.Role.String()...)
		b = append(b, '"')
	}
	return b
}

func appendEndpoint(b []byte, a netip.AddrPort) []byte {
	b = a.Addr().AppendTo(b)
	b = append(b, `","port":`...)
	b = appendUint(b, uint64(a.Port()))
	return append(b, '}')
}
