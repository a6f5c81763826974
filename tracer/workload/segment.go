// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// TCP flags.
const (
	flagFin = 1 << 0
	flagSyn = 1 << 1
	flagRst = 1 << 2
	flagPsh = 1 << 3
	flagAck = 1 << 4
)

const (
	ethernetLen = 14
	ipLen       = 20
	tcpLen      = 20
	ethertypeIP = 0x0800
)

// segment is a TCP segment over IPv4 over Ethernet, as far as a scripted peer cares.
type segment struct {
	source, dest netip.AddrPort
	seq, ack     uint32
	flags        byte
	length       uint32 // of the payload, which nobody reads

	// The timestamps option (RFC 7323), if any.
	stamped        bool
	stamp, echoing uint32
}

func (s segment) String() string {
	var flags string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK"} {
		if s.flags&(1<<i) != 0 {
			flags += name + " "
		}
	}
	text := fmt.Sprintf("%sseq %d ack %d", flags, s.seq, s.ack)
	if s.length > 0 {
		text += fmt.Sprintf(" with %d bytes", s.length)
	}
	if s.stamped {
		text += fmt.Sprintf(" at %d echoing %d", s.stamp, s.echoing)
	}
	return text
}

// end is the sequence number after the segment: SYN and FIN count as a byte each.
func (s segment) end() uint32 {
	end := s.seq + s.length
	if s.flags&flagSyn != 0 {
		end++
	}
	if s.flags&flagFin != 0 {
		end++
	}
	return end
}

func (s segment) is(flags byte) bool { return s.flags&flags == flags }

// marshal writes a whole frame. The payload is always empty.
func (s segment) marshal(from, to net.HardwareAddr) []byte {
	options := 0
	if s.stamped {
		options = 12
	}
	b := make([]byte, ethernetLen+ipLen+tcpLen+options)
	copy(b[0:], to)
	copy(b[6:], from)
	binary.BigEndian.PutUint16(b[12:], ethertypeIP)

	ip, tcp := b[ethernetLen:], b[ethernetLen+ipLen:]
	ip[0] = 4<<4 | ipLen/4
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[6] = 0x40 // don't fragment
	ip[8] = 64   // TTL
	ip[9] = 6    // TCP
	source, dest := s.source.Addr().As4(), s.dest.Addr().As4()
	copy(ip[12:], source[:])
	copy(ip[16:], dest[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip[:ipLen]))

	binary.BigEndian.PutUint16(tcp[0:], s.source.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.dest.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12] = byte(len(tcp)/4) << 4
	tcp[13] = s.flags
	binary.BigEndian.PutUint16(tcp[14:], 0xffff) // window
	if s.stamped {
		copy(tcp[tcpLen:], []byte{1, 1, 8, 10})
		binary.BigEndian.PutUint32(tcp[tcpLen+4:], s.stamp)
		binary.BigEndian.PutUint32(tcp[tcpLen+8:], s.echoing)
	}
	pseudo := uint32(6 + len(tcp)) // the pseudo header: protocol, length, addresses
	binary.BigEndian.PutUint16(tcp[16:], checksum(pseudo, ip[12:20], tcp))
	return b
}

// checksum is RFC 1071's, over parts of even length.
func checksum(sum uint32, parts ...[]byte) uint16 {
	for _, p := range parts {
		for i := 0; i+1 < len(p); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(p[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// parseSegment reads a frame. Checksums are not looked at: on a virtual link the kernel
// leaves them for hardware that will never see the frame.
func parseSegment(b []byte) (s segment, ok bool) {
	if len(b) < ethernetLen+ipLen+tcpLen || binary.BigEndian.Uint16(b[12:]) != ethertypeIP {
		return s, false
	}
	ip := b[ethernetLen:]
	header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ip[0]>>4 != 4 || ip[9] != 6 || header < ipLen || total > len(ip) || total < header+tcpLen {
		return s, false
	}
	tcp := ip[header:total]
	offset := int(tcp[12]>>4) * 4
	if offset < tcpLen || offset > len(tcp) {
		return s, false
	}
	address := func(a, port []byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a)), binary.BigEndian.Uint16(port))
	}
	s = segment{
		source: address(ip[12:16], tcp[0:]), dest: address(ip[16:20], tcp[2:]),
		seq: binary.BigEndian.Uint32(tcp[4:]), ack: binary.BigEndian.Uint32(tcp[8:]),
		flags: tcp[13], length: uint32(len(tcp) - offset),
	}
	s.parseStamps(tcp[tcpLen:offset])
	return s, true
}

func (s *segment) parseStamps(options []byte) {
	for len(options) > 0 {
		switch {
		case options[0] == 0:
			return
		case options[0] == 1:
			options = options[1:]
			continue
		case len(options) < 2 || options[1] < 2 || int(options[1]) > len(options):
			return
		case options[0] == 8 && options[1] == 10:
			s.stamped = true
			s.stamp = binary.BigEndian.Uint32(options[2:])
			s.echoing = binary.BigEndian.Uint32(options[6:])
		}
		options = options[options[1]:]
	}
}
