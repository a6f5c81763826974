// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The load, a child process: it makes connections when it is told to.

// loadPort is the first of the ports that the load listens on, one for each thread. It is
// below every port that a client is given, so that rows of the load can be told from
// those of others on the host.
const (
	loadPort  = 21400
	heldPorts = 500 // held connections are this far from it
)

// order is a line on the load's standard input.
type order struct {
	Conns int  // connections to make, over all threads
	Keep  bool // leave them open until the load ends
}

// outcome is the line that answers it.
type outcome struct {
	Conns int
	Wall  time.Duration
	CPU   time.Duration // of the process, user and system
	Err   string        `json:",omitempty"`
}

// runLoad obeys orders until there are no more.
func runLoad() error {
	if err := furnish(); err != nil {
		return err
	}
	threads := make([]*closer, runtime.NumCPU())
	for i := range threads {
		var err error
		if threads[i], err = newCloser(i); err != nil {
			return err
		}
	}
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		var done outcome
		if o.Keep {
			done = hold(o.Conns)
		} else {
			done = obey(threads, o)
		}
		if err := out.Encode(done); err != nil {
			return fmt.Errorf("answer an order: %w", err)
		}
	}
	return in.Err()
}

// furnish prepares the namespace that the process was born in.
func furnish() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	for name, value := range map[string]string{
		"tcp_max_tw_buckets": "2000000", // every connection leaves a TIME_WAIT
		"tcp_tw_reuse":       "0",       // and none is taken over
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

func obey(threads []*closer, o order) outcome {
	before, began := processCPU(), time.Now()
	errs := make([]error, len(threads))
	var wg sync.WaitGroup
	for i, c := range threads {
		n := o.Conns / len(threads)
		if i < o.Conns%len(threads) {
			n++
		}
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs[i] = c.run(n, false)
		})
	}
	wg.Wait()
	done := outcome{Conns: o.Conns, Wall: time.Since(began), CPU: processCPU() - before}
	for _, err := range errs {
		if err != nil {
			done.Err = err.Error()
		}
	}
	return done
}

func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// closer is both ends of many connections, one after the other, on one thread: connect(),
// accept(), close() of the client, close() of the server. On loopback each of them is
// over when the call returns, so no call waits and no two threads have to meet.
type closer struct {
	listen int
	dest   unix.SockaddrInet4
	made   uint32
}

// newCloser listens on the i-th port.
func newCloser(i int) (*closer, error) {
	c := &closer{dest: unix.SockaddrInet4{Port: loadPort + i}}
	var err error
	if c.listen, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
		if err = unix.Bind(c.listen, &unix.SockaddrInet4{Port: c.dest.Port}); err == nil {
			err = unix.Listen(c.listen, 16)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", c.dest.Port, err)
	}
	return c, nil
}

func (c *closer) run(n int, keep bool) error {
	for range n {
		// Another address for each: the port range is never short, however many TIME_WAITs.
		c.made++
		c.dest.Addr = [4]byte{127, 1 + byte(c.made>>16), byte(c.made >> 8), byte(c.made)}
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make a socket: %w", err)
		}
		if err := unix.Connect(client, &c.dest); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		server, _, err := unix.Accept4(c.listen, unix.SOCK_CLOEXEC)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		if keep {
			continue
		}
		if err := unix.Close(client); err != nil {
			return fmt.Errorf("close: %w", err)
		}
		if err := unix.Close(server); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	return nil
}
