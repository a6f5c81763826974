// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// patience bounds every wait of a worker for its peer. It is far beyond what any step
// takes: reaching it is an error.
const patience = 20 // seconds

// ipLocalPortRange is IP_LOCAL_PORT_RANGE: ip_local_port_range for one socket (6.3).
const ipLocalPortRange = 51

// retry repeats a call a signal has interrupted. A socket with SO_RCVTIMEO is not
// restarted by the kernel, whatever SA_RESTART says.
func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

func newSocket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("create socket: %w", err)
	}
	if err := bound(fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bound limits reads. Writes need no limit, they are smaller than any send buffer, and
// SO_SNDTIMEO would also bound connect().
func bound(fd int) error {
	err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience})
	if err != nil {
		return fmt.Errorf("bound socket: %w", err)
	}
	return nil
}

func sockaddr(family int, a netip.AddrPort) unix.Sockaddr {
	if family == unix.AF_INET6 {
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func addrPort(s unix.Sockaddr) netip.AddrPort {
	switch s := s.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port))
	}
	return netip.AddrPort{}
}

func localName(fd int) (netip.AddrPort, error) {
	s, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read local address: %w", err)
	}
	return addrPort(s), nil
}

// bindShared binds with SO_REUSEADDR, which lets a port that is only held by TIME_WAIT
// be bound again.
func bindShared(fd, family int, a netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("share address: %w", err)
	}
	if err := unix.Bind(fd, sockaddr(family, a)); err != nil {
		return fmt.Errorf("bind %s: %w", a, err)
	}
	return nil
}

// resetOnClose makes close() send an RST: tcp_close() disconnects instead.
func resetOnClose(fd int) error {
	err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err != nil {
		return fmt.Errorf("set SO_LINGER: %w", err)
	}
	return nil
}

// limitPorts leaves connect() one local port to choose.
func limitPorts(fd int, port uint16) error {
	both := int(port)<<16 | int(port)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, ipLocalPortRange, both); err != nil {
		return fmt.Errorf("limit local ports: %w", err)
	}
	return nil
}

func write(fd int, b []byte) error {
	n, err := retry(func() (int, error) { return unix.Write(fd, b) })
	if err == nil && n < len(b) {
		err = errors.New("short write")
	}
	if err != nil {
		return fmt.Errorf("write to socket: %w", err)
	}
	return nil
}

// readFull fills b; the peer may not close before.
func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := retry(func() (int, error) { return unix.Read(fd, b) })
		if err == nil && n == 0 {
			err = errors.New("the peer closed too early")
		}
		if err != nil {
			return fmt.Errorf("read from socket: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// readEnd reads up to the end of the connection and says what it was: MethodFin for an
// orderly end, else the error the kernel left on the socket.
func readEnd(fd int) (method string, err error) {
	var b [64]byte
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, b[:]) })
		switch {
		case err == nil && n == 0:
			return MethodFin, nil
		case err == nil:
		case errors.Is(err, unix.ECONNRESET):
			return MethodRst, nil
		case errors.Is(err, unix.ETIMEDOUT):
			return MethodTimeout, nil
		case errors.Is(err, unix.ECONNABORTED):
			return MethodAbort, nil
		default:
			return "", fmt.Errorf("read to the end: %w", err)
		}
	}
}

// readable waits until there is something to read, and leaves it there.
func readable(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := retry(func() (int, error) { return unix.Poll(fds, patience*1000) })
	if err == nil && n == 0 {
		err = unix.ETIMEDOUT
	}
	if err != nil {
		return fmt.Errorf("wait for data: %w", err)
	}
	return nil
}

// acknowledge sends the ACK that the kernel would keep for up to 40 ms, in case there is
// something to send it with. The other end's FIN is then acknowledged before ours comes.
func acknowledge(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

func closeSocket(fd int) error {
	// Linux has let go of the descriptor even when close() reports EINTR.
	if err := unix.Close(fd); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("close socket: %w", err)
	}
	return nil
}
