// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// peerPort is the first port of the scripted peer. Every connection has another.
const peerPort = 10000

// peer is a TCP peer without a TCP: it sends the segments it is told to and nothing
// else, so that a kernel socket meets exactly the situation that is wanted. It is used
// by one goroutine at a time.
type peer struct {
	fd   int
	link link
	buf  [2048]byte
}

// openPeer must run on the namespace's thread; the peer may be used from anywhere.
func openPeer() (*peer, error) {
	l, err := addLink()
	if err != nil {
		return nil, err
	}
	const protocol = ethertypeIP<<8&0xff00 | ethertypeIP>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("open packet socket: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: l.index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	return &peer{fd: fd, link: l}, nil
}

func (p *peer) close() error { return unix.Close(p.fd) }

// conversation is one connection of the peer's.
type conversation struct {
	p             *peer
	local, remote netip.AddrPort
	seq, ack      uint32 // what we send next, what we expect next
	stamps        bool
	echoing       uint32 // the last timestamp of the kernel's
	born          time.Time
	said          []string // every segment so far, for when it does not go on
}

func (c *conversation) note(who string, s segment) {
	c.said = append(c.said, fmt.Sprintf("%v %s %v", time.Since(c.born).Round(time.Microsecond), who, s))
}

// accept waits for a SYN to a port and completes the handshake. Offering stamps, it
// agrees to timestamps if the kernel asks for them.
func (p *peer) accept(ctx context.Context, port uint16, stamps bool) (*conversation, error) {
	c := &conversation{p: p, local: netip.AddrPortFrom(peerAddr, port), seq: 1000, born: time.Now()}
	syn, err := c.expect(ctx, "SYN", func(s segment) bool { return s.is(flagSyn) })
	if err != nil {
		return nil, err
	}
	c.remote, c.ack, c.stamps = syn.source, syn.end(), stamps && syn.stamped
	if err := c.send(flagSyn | flagAck); err != nil {
		return nil, err
	}
	_, err = c.expect(ctx, "the handshake's ACK", c.acknowledges)
	return c, err
}

// acknowledges everything we have sent.
func (c *conversation) acknowledges(s segment) bool { return s.is(flagAck) && s.ack == c.seq }

// expect drops segments until one of this connection satisfies want.
func (c *conversation) expect(ctx context.Context, what string, want func(segment) bool) (segment, error) {
	for {
		s, err := c.p.receive(ctx)
		if err != nil {
			return segment{}, fmt.Errorf("expect %s after %q: %w", what, c.said, err)
		}
		if s.dest != c.local || c.remote.IsValid() && s.source != c.remote {
			continue
		}
		c.note("kernel", s)
		if s.stamped {
			c.echoing = s.stamp
		}
		if want(s) {
			return s, nil
		}
	}
}

// send sends a segment from where we are and moves on behind it.
func (c *conversation) send(flags byte) error {
	s := segment{source: c.local, dest: c.remote, seq: c.seq, flags: flags}
	if s.is(flagAck) {
		s.ack = c.ack
	}
	if c.stamps && !s.is(flagRst) {
		s.stamped, s.echoing = true, c.echoing
		s.stamp = 1 + uint32(time.Since(c.born).Milliseconds())
	}
	c.seq = s.end()
	c.note("peer", s)
	if _, err := retry(func() (int, error) {
		return unix.Write(c.p.fd, s.marshal(peerMAC, c.p.link.kernelMAC))
	}); err != nil {
		return fmt.Errorf("send segment: %w", err)
	}
	return nil
}

// receive returns the next TCP segment, or the context's end.
func (p *peer) receive(ctx context.Context) (segment, error) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	for {
		if err := context.Cause(ctx); err != nil {
			return segment{}, err
		}
		const look = 50 // milliseconds between two looks at the context
		n, err := retry(func() (int, error) { return unix.Poll(fds, look) })
		if err != nil {
			return segment{}, fmt.Errorf("wait for frame: %w", err)
		}
		if n == 0 {
			continue
		}
		n, err = retry(func() (int, error) { return unix.Read(p.fd, p.buf[:]) })
		if err != nil {
			return segment{}, fmt.Errorf("read frame: %w", err)
		}
		if s, ok := parseSegment(p.buf[:n]); ok {
			return s, nil
		}
	}
}
