// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

func init() {
	clients["again"] = again
	clients["rebind"] = rebind
}

// again leaves a TIME_WAIT at this end and connects again, from the same port, until it may. It
// prints after how many milliseconds, or that three seconds were not enough.
func again() error {
	// With a port to bind to, it chooses that; otherwise the range has but one.
	d := net.Dialer{}
	if len(os.Args) > 2 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(os.Args[2]))
	}
	if len(os.Args) > 3 && os.Args[3] == "SO_REUSEADDR" {
		d.Control = func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
			}), err)
		}
	}
	connect := func() error {
		conn, err := d.Dial("tcp", os.Args[1])
		if err != nil {
			return err
		}
		if err := ask(conn); err != nil {
			return err
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		_, err = conn.Read(make([]byte, 1)) // the peer's FIN
		conn.Close()
		if err == nil {
			return errors.New("the service has sent more")
		}
		return nil
	}
	if err := connect(); err != nil {
		return err
	}
	const limit = 3 * time.Second
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); time.Since(begun) < limit; <-tick.C {
		err := connect()
		if err == nil {
			fmt.Printf("after %d ms\n", time.Since(begun).Milliseconds())
			return nil
		}
		if !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	fmt.Printf("not within %d s\n", int(limit/time.Second))
	return nil
}

// rebind tries to listen where TIME_WAITs of a server that has gone are, without SO_REUSEADDR and with it.
func rebind() error {
	for _, reuse := range []int{0, 1} {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, reuse)
		if err == nil {
			err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: 7000})
		}
		if err == nil {
			err = syscall.Listen(fd, 1)
		}
		fmt.Printf("SO_REUSEADDR %d: %v\n", reuse, err)
		syscall.Close(fd)
	}
	return nil
}
