// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a program that runs until it is stopped.
type server struct {
	*host
	name  string
	cmd   *exec.Cmd
	log   string // the file with what it says
	ended chan struct{}
}

// start starts a server, with whatever of its processes in a group of its own, and
// waits until it listens on port; 0 is for those that do not.
func (h *host) start(name string, port int, cmd *exec.Cmd) *server {
	h.t.Helper()
	s := &server{host: h, name: name, cmd: cmd, log: fmt.Sprintf("%s-%s.out", h.name, name), ended: make(chan struct{})}
	out, err := os.OpenFile(h.write(s.log, ""), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr.Setpgid = true
	if err := cmd.Start(); err != nil {
		h.t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // by a signal, as a rule
	}()
	h.t.Cleanup(s.kill)
	if port > 0 {
		s.await(fmt.Sprintf("it to listen on port %d", port), func() bool { return h.listens(port) })
	}
	return s
}

// await waits for something, or for the server's early end.
func (s *server) await(what string, holds func() bool) {
	s.t.Helper()
	await(s.t, s.name+": "+what, func() bool {
		select {
		case <-s.ended:
			if holds() {
				return true
			}
			s.t.Fatalf("%s ended before %s: %s", s.name, what, s.read(s.log))
		default:
		}
		return holds()
	})
}

// stop ends the server with a signal, and waits until it and all its workers are gone.
func (s *server) stop(signal syscall.Signal) {
	s.t.Helper()
	select {
	case <-s.ended:
		s.t.Fatalf("%s has ended by itself: %s", s.name, s.read(s.log))
	default:
	}
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "the end of "+s.name, func() bool {
		select {
		case <-s.ended:
			return syscall.Kill(-s.cmd.Process.Pid, 0) == syscall.ESRCH
		default:
			return false
		}
	})
}

// kill ends what is left of the server, workers included.
func (s *server) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // nobody may be left
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Errorf("%s does not die", s.name)
	}
}

// listens reports whether somebody listens on a port. It asks the kernel and not the
// server: a connection would be in the trace.
func (h *host) listens(port int) bool {
	h.t.Helper()
	return h.sockets(port, stateListen) > 0
}

// idle waits until a server has no connections left on a port, TIME_WAITs aside: what a load has started is done.
func (h *host) idle(port int) {
	h.t.Helper()
	await(h.t, fmt.Sprintf("%s to have no connections on port %d", h.name, port), func() bool {
		return h.sockets(port, 0) == h.sockets(port, stateListen)+h.sockets(port, stateTimeWait)
	})
}

// settled waits until no socket of the host is on its way from one state to another.
func (h *host) settled() {
	h.t.Helper()
	await(h.t, "the sockets of "+h.name+" to settle", func() bool {
		return h.sockets(0, 0) == h.sockets(0, stateListen)+h.sockets(0, stateTimeWait)+h.sockets(0, stateEstablished)
	})
}

// States as /proc/net/tcp has them.
const (
	stateEstablished = 0x01
	stateTimeWait    = 0x06
	stateListen      = 0x0a
)

// sockets counts the TCP sockets with a local port, in a state; 0 is any of them.
func (h *host) sockets(port int, state uint64) (n int) {
	h.t.Helper()
	out, err := h.command("cat", "/proc/self/net/tcp", "/proc/self/net/tcp6").Output()
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		p, err1 := strconv.ParseUint(hex, 16, 16)
		st, err2 := strconv.ParseUint(f[3], 16, 8)
		if err1 != nil || err2 != nil {
			continue // the heading
		}
		if (port == 0 || int(p) == port) && (state == 0 || st == state) {
			n++
		}
	}
	return n
}
