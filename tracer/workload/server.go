// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// server accepts connections and ends each as its greeting asks.
type server struct {
	w         *worker
	listeners []int // IPv4, and IPv6 where the kernel has it

	mu     sync.Mutex
	cond   *sync.Cond
	halves []half
	held   []int // sockets of orphans' peers: not closed until release
	failed error
}

func listen(w *worker, port uint16) (*server, error) {
	s := &server{w: w}
	s.cond = sync.NewCond(&s.mu)
	fd, err := listener(unix.AF_INET, port)
	if err != nil {
		return nil, err
	}
	s.listeners = append(s.listeners, fd)
	fd, err = listener(unix.AF_INET6, port)
	switch {
	case err == nil:
		s.listeners = append(s.listeners, fd)
	case !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EADDRNOTAVAIL):
		return nil, err
	}
	return s, nil
}

func listener(family int, port uint16) (int, error) {
	fd, err := newSocket(family)
	if err != nil {
		return -1, err
	}
	all := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	if family == unix.AF_INET6 {
		all = netip.AddrPortFrom(netip.IPv6Unspecified(), port)
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(family, all))
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen: %w", err)
	}
	return fd, nil
}

// serve handles a number of connections one after the other on the calling thread.
func (s *server) serve(count int) ([]half, error) {
	for range count {
		if err := s.accept(false, true); err != nil {
			return nil, err
		}
	}
	return s.take(), nil
}

// host handles connections on a thread of its own for as long as the process lives.
func (s *server) host() {
	go func() {
		runtime.LockOSThread()
		for {
			if err := s.accept(true, false); err != nil {
				s.fail(err)
				return
			}
		}
	}()
}

// accept takes one connection. Aside means that connections which wait for a process to
// be killed get a thread of their own, not to keep the others waiting.
func (s *server) accept(aside, bounded bool) error {
	fds := make([]unix.PollFd, len(s.listeners))
	for i, l := range s.listeners {
		fds[i] = unix.PollFd{Fd: int32(l), Events: unix.POLLIN}
	}
	limit := -1
	if bounded {
		limit = patience * 1000
	}
	n, err := retry(func() (int, error) { return unix.Poll(fds, limit) })
	if err != nil || n == 0 {
		return fmt.Errorf("wait for a client: %w", errors.Join(err, unix.ETIMEDOUT))
	}
	for i, l := range s.listeners {
		if fds[i].Revents == 0 {
			continue
		}
		// The address comes from accept(): a connection that was reset in the
		// queue is accepted all the same, and getpeername() fails on it.
		var peer unix.Sockaddr
		fd, err := retry(func() (fd int, err error) {
			fd, peer, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
			return fd, err
		})
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		return s.welcome(fd, half{Side: Side{Peer: addrPort(peer)}}, aside)
	}
	return nil
}

func (s *server) welcome(fd int, h half, aside bool) error {
	var err error
	if h.Side.Local, err = localName(fd); err != nil {
		return err
	}
	if err := bound(fd); err != nil {
		return err
	}
	var b [greetingLen]byte
	if err := readFull(fd, b[:]); err != nil {
		return err
	}
	if err := h.parseGreeting(b[:]); err != nil {
		return err
	}
	if aside && h.Kind == Sigkill {
		go func() {
			runtime.LockOSThread()
			if err := s.handle(fd, h); err != nil {
				s.fail(err)
			}
		}()
		return nil
	}
	return s.handle(fd, h)
}

func (s *server) handle(fd int, h half) error {
	me := s.w.side()
	me.Local, me.Peer = h.Side.Local, h.Side.Peer
	h.Side = me
	if h.Kind == ForkChild {
		return s.w.give(fd, h)
	}
	if err := write(fd, []byte("!")); err != nil {
		return fmt.Errorf("serve %s: %w", h.Kind, err)
	}
	if err := s.act(fd, &h); err != nil {
		return fmt.Errorf("serve %s: %w", h.Kind, err)
	}
	h.Ended = time.Now()
	s.record(h)
	return nil
}

func (s *server) act(fd int, h *half) error {
	switch h.Kind {
	case ServerFirst:
		h.Side.Closer, h.Side.Method, h.Side.TimeWait = CloserLocal, MethodClose, true
		return closeSocket(fd)
	case Linger0Server:
		h.Side.Closer, h.Side.Method = CloserLocal, MethodLinger0
		if err := resetOnClose(fd); err != nil {
			return err
		}
		return closeSocket(fd)
	}
	method, err := readEnd(fd)
	if err != nil {
		return err
	}
	h.Side.Closer, h.Side.Method = CloserPeer, method
	if h.Prompt && method == MethodFin {
		if err := acknowledge(fd); err != nil {
			return err
		}
	}
	switch h.Kind {
	case OrphanFinWait2:
		s.mu.Lock()
		s.held = append(s.held, fd)
		s.mu.Unlock()
		return nil
	case HalfClose:
		if err := write(fd, []byte("the answer")); err != nil {
			return err
		}
	}
	return closeSocket(fd)
}

// release closes what act has held.
func (s *server) release() ([]half, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fd := range s.held {
		if err := closeSocket(fd); err != nil {
			return nil, err
		}
	}
	s.held = nil
	return nil, nil
}

func (s *server) record(h half) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halves = append(s.halves, h)
	s.cond.Broadcast()
}

func (s *server) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = errors.Join(s.failed, err)
	s.cond.Broadcast()
}

// drain waits until count connections are over. It ends because each of them does, or
// fails by its own time limit, or because the coordinator kills the process.
func (s *server) drain(count int) ([]half, error) {
	s.mu.Lock()
	for len(s.halves) < count && s.failed == nil {
		s.cond.Wait()
	}
	err := s.failed
	s.mu.Unlock()
	return s.take(), err
}

func (s *server) take() []half {
	s.mu.Lock()
	defer s.mu.Unlock()
	halves := s.halves
	s.halves = nil
	return halves
}
