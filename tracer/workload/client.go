// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is TCP_USER_TIMEOUT of kind Timeout, in milliseconds.
const userTimeout = 500

// connection is a client's end of one connection. kind is what it does; the half has
// the kind it is listed under.
type connection struct {
	fd   int
	kind Kind
	half half
}

// connect opens a connection up to the point where it can be closed: the server has
// accepted it and has answered. A connect error the ledger wants is not an error.
func (w *worker) connect(r request) (*connection, error) {
	c := &connection{fd: -1, kind: r.Kind, half: half{
		ID: r.ID, Kind: r.Kind, Successor: r.Successor, Prompt: r.Prompt, Began: time.Now(), Side: w.side(),
	}}
	if r.Label != "" {
		c.half.Kind = r.Label
	}
	family := unix.AF_INET
	if r.Dest.Addr().Is6() || r.Kind == V4Mapped {
		family = unix.AF_INET6
	}
	fd, err := newSocket(family)
	if err != nil {
		return nil, err
	}
	c.fd = fd
	if err := c.dial(family, r); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", r.Kind, err)
	}
	if c.fd < 0 || r.Kind.Scripted() {
		return c, nil
	}
	if err := c.greet(); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", r.Kind, err)
	}
	return c, nil
}

func (c *connection) dial(family int, r request) error {
	c.half.Side.Peer = r.Dest
	if r.OnePort != 0 {
		if err := limitPorts(c.fd, r.OnePort); err != nil {
			return err
		}
	}
	if r.Source.IsValid() {
		if err := bindShared(c.fd, family, r.Source); err != nil {
			return err
		}
		local, err := localName(c.fd)
		if err != nil {
			return err
		}
		// Now, because a failed connect() may forget the address.
		c.half.Side.Local = local
	}
	if c.kind == Timeout {
		err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout)
		if err != nil {
			return fmt.Errorf("set TCP_USER_TIMEOUT: %w", err)
		}
	}
	_, err := retry(func() (struct{}, error) {
		return struct{}{}, unix.Connect(c.fd, sockaddr(family, r.Dest))
	})
	if c.kind.failsWith(err) {
		var errno unix.Errno
		errors.As(err, &errno)
		c.half.ConnectError = unix.ErrnoName(errno)
		c.half.Ended = time.Now()
		err, c.fd = closeSocket(c.fd), -1
		return err
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w", r.Dest, err)
	}
	c.half.Side.Local, err = localName(c.fd)
	return err
}

// failsWith reports whether a connect error is what the kind is about.
func (k Kind) failsWith(err error) bool {
	return k == Refused && errors.Is(err, unix.ECONNREFUSED) ||
		k == NoPort && errors.Is(err, unix.EADDRNOTAVAIL)
}

func (c *connection) greet() error {
	if err := write(c.fd, c.greeting()); err != nil {
		return err
	}
	if c.kind == UnreadData {
		return readable(c.fd)
	}
	var answer [1]byte
	return readFull(c.fd, answer[:])
}

// finish ends the connection in the way of its kind and completes the half.
func (w *worker) finish(c *connection) error {
	if c.fd < 0 {
		return nil // connect() has failed as it should
	}
	if err := w.act(c); err != nil {
		return fmt.Errorf("finish %s: %w", c.half.Kind, err)
	}
	c.half.Ended = time.Now()
	return nil
}

func (w *worker) act(c *connection) error {
	s := &c.half.Side
	switch c.kind {
	case ServerFirst, Linger0Server, PeerRST, Timeout, Abort:
		return c.endure()
	case HalfClose:
		return c.halfClose()
	case Linger0:
		s.Closer, s.Method = CloserLocal, MethodLinger0
		if err := resetOnClose(c.fd); err != nil {
			return err
		}
		return closeSocket(c.fd)
	case UnreadData:
		s.Closer, s.Method = CloserLocal, MethodUnreadData
		return closeSocket(c.fd)
	case Thread:
		var err error
		w.elsewhere(func() {
			s.TID = unix.Gettid()
			err = c.closeFirst()
		})
		return err
	case OrphanFinWait2:
		err := c.closeFirst()
		s.TimeWait, s.FinWait2Orphan = false, true
		return err
	case TWOverflow:
		err := c.closeFirst()
		s.TimeWait, s.TimeWaitEnd = false, EndOverflow
		return err
	case Simultaneous:
		err := c.closeFirst()
		s.Closer = CloserBoth
		return err
	}
	return c.closeFirst()
}

func (c *connection) closeFirst() error {
	s := &c.half.Side
	s.Closer, s.Method, s.TimeWait = CloserLocal, MethodClose, true
	return closeSocket(c.fd)
}

// halfClose keeps the socket through FIN_WAIT2: a full one, not an orphan.
func (c *connection) halfClose() error {
	s := &c.half.Side
	s.Closer, s.Method, s.TimeWait = CloserLocal, MethodShutdown, true
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	method, err := readEnd(c.fd)
	if err == nil && method != MethodFin {
		err = fmt.Errorf("the server ended with %s", method)
	}
	if err != nil {
		return err
	}
	return closeSocket(c.fd)
}

// endure waits for what somebody else does to the connection.
func (c *connection) endure() error {
	s := &c.half.Side
	if c.kind.Scripted() {
		if err := write(c.fd, []byte("?")); err != nil {
			return err
		}
	}
	method, err := readEnd(c.fd)
	if err != nil {
		return err
	}
	s.Closer, s.Method = CloserPeer, method
	switch {
	case method == MethodTimeout || method == MethodAbort:
		s.Closer = CloserKernel
	case method == MethodFin && c.half.Prompt:
		if err := acknowledge(c.fd); err != nil {
			return err
		}
	}
	return closeSocket(c.fd)
}
