// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// TCP states as the kernel numbers them (enum in include/net/tcp_states.h).
const (
	stateNone     = 0 // no such socket
	stateFinWait2 = 5
	stateTimeWait = 6
	stateListen   = 10
)

// passing is the set of states a connection only passes through on its way to nothing
// or to TIME_WAIT: everything but CLOSE, TIME_WAIT and LISTEN.
const passing = 0xffe &^ (1<<7 | 1<<stateTimeWait | 1<<stateListen)

const (
	sockDiagByFamily = 20
	sockDestroy      = 21

	diagRequestLen = unix.NLMSG_HDRLEN + 8 + 48
)

// tuple is a socket's two ends, as that socket sees them.
type tuple struct{ local, peer netip.AddrPort }

func (s Side) tuple() tuple { return tuple{s.Local, s.Peer} }

// diag asks the kernel about sockets of the namespace it was opened in.
type diag struct {
	mu  sync.Mutex
	fd  int
	buf []byte
}

// openDiag must run in the namespace; the result may be used from anywhere.
func openDiag() (*diag, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	return &diag{fd: fd, buf: make([]byte, 1<<16)}, nil
}

func (d *diag) close() error { return unix.Close(d.fd) }

// state returns a socket's state, stateNone if there is no such socket. For a
// mini-socket the kernel reports the substate: FIN_WAIT2 or TIME_WAIT.
func (d *diag) state(t tuple) (int, error) {
	found := stateNone
	err := d.exchange(sockDiagByFamily, 0, t, 0, func(state int, _ tuple) { found = state })
	if errors.Is(err, unix.ENOENT) {
		return stateNone, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look socket up: %w", err)
	}
	if found == stateListen {
		// The kernel's lookup falls back to whoever listens on the port.
		found = stateNone
	}
	return found, nil
}

// destroy ends a connection as ss -K does: tcp_abort(), in the caller's context.
func (d *diag) destroy(t tuple) error {
	err := d.exchange(sockDestroy, unix.NLM_F_ACK, t, 0, nil)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = errors.ErrUnsupported // CONFIG_INET_DIAG_DESTROY is off
	}
	if err != nil {
		return fmt.Errorf("destroy socket: %w", err)
	}
	return nil
}

// list returns every TCP socket, mini-sockets included, in one of the states.
func (d *diag) list(states uint32) ([]tuple, error) {
	var tuples []tuple
	for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		all := netip.AddrPortFrom(family, 0)
		err := d.exchange(sockDiagByFamily, unix.NLM_F_DUMP, tuple{all, all}, states,
			func(_ int, t tuple) { tuples = append(tuples, t) })
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("list sockets: %w", err)
		}
	}
	return tuples, nil
}

// exchange sends one inet_diag_req_v2 and hands over each inet_diag_msg of the answer.
func (d *diag) exchange(kind, flags uint16, t tuple, states uint32, each func(int, tuple)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	request := diagRequest(kind, flags, t, states)
	if err := unix.Sendto(d.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		n, err := retry(func() (int, error) { return unix.Read(d.fd, d.buf) })
		if err != nil {
			return err
		}
		done, err := parseDiag(d.buf[:n], flags, each)
		if done || err != nil {
			return err
		}
	}
}

func diagRequest(kind, flags uint16, t tuple, states uint32) []byte {
	b := make([]byte, diagRequestLen)
	binary.NativeEndian.PutUint32(b[0:], diagRequestLen)
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|flags)
	body := b[unix.NLMSG_HDRLEN:]
	body[0] = unix.AF_INET
	if t.local.Addr().Is6() {
		body[0] = unix.AF_INET6
	}
	body[1] = unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], states)
	id := body[8:]
	binary.BigEndian.PutUint16(id[0:], t.local.Port())
	binary.BigEndian.PutUint16(id[2:], t.peer.Port())
	copy(id[4:20], t.local.Addr().AsSlice())
	copy(id[20:36], t.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // INET_DIAG_NOCOOKIE
	return b
}

// parseDiag reports done after the last message of an answer: a single one, NLMSG_DONE
// of a dump, or NLMSG_ERROR, which with code 0 is an acknowledgement.
func parseDiag(b []byte, flags uint16, each func(int, tuple)) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return true, errors.New("sock_diag answer is cut")
		}
		body := b[unix.NLMSG_HDRLEN:length]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if code := -int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return true, unix.Errno(code)
			}
			return true, nil
		case sockDiagByFamily:
			if len(body) < 52 {
				return true, errors.New("sock_diag message is short")
			}
			each(int(body[1]), diagTuple(body))
			if flags == 0 {
				return true, nil
			}
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return false, nil
}

func diagTuple(body []byte) tuple {
	size := 4
	if body[0] == unix.AF_INET6 {
		size = 16
	}
	id := body[4:]
	local, _ := netip.AddrFromSlice(id[4 : 4+size])
	peer, _ := netip.AddrFromSlice(id[20 : 20+size])
	return tuple{
		netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(id[0:])),
		netip.AddrPortFrom(peer.Unmap(), binary.BigEndian.Uint16(id[2:])),
	}
}
