// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"finwait/tracer/workload"
)

// An actor is a process that does what a test tells it, one system call at a time: who
// owns a socket is a question of which process did what in which order.
type actor struct {
	t    *testing.T
	name string // its comm
	pid  int
	exe  string
	cmd  *exec.Cmd // nil for an actor's child
	in   *os.File
	out  *os.File
	orders,
	outcomes codec
	nursery [2]*os.File // the pipes of a child to come
}

type codec struct {
	*json.Encoder
	*json.Decoder
}

// order is one thing to do. FD numbers are the actor's own.
type order struct {
	Op    string
	FD    int            `json:",omitempty"`
	To    int            `json:",omitempty"` // dup2: the new number
	Addr  netip.AddrPort `json:",omitzero"`
	Name  string         `json:",omitempty"` // of the child, or after exec
	Path  string         `json:",omitempty"` // of the program file after exec
	Aside bool           `json:",omitempty"` // on a thread that is not the first one
}

type outcome struct {
	Error       string
	Errno       string
	FD          int
	PID, TID    int
	Local, Peer netip.AddrPort
}

const (
	actorEnv    = "FINWAIT_TEST_ACTOR"       // the name; an actor lives until its input ends
	againEnv    = "FINWAIT_TEST_ACTOR_AGAIN" // it was another program before, and says that it is there
	briefEnv    = "FINWAIT_TEST_BRIEF_ACTOR" // the address to connect to; then it ends
	nurseryFD   = 3                          // an actor's child speaks through these two
	inheritedFD = 3                          // a child's inherited socket
)

// Only during initialisation is the main goroutine sure to be on the first thread.
func init() {
	if os.Getenv(actorEnv) != "" {
		runtime.LockOSThread()
	}
}

// actorMain turns the process into an actor, if it was started as one.
func actorMain() {
	name := os.Getenv(actorEnv)
	if name == "" {
		return
	}
	b := append([]byte(name), 0)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if to := os.Getenv(briefEnv); to != "" {
		brief(netip.MustParseAddrPort(to))
	}
	s := &script{}
	orders, outcomes := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if os.Getenv(againEnv) != "" {
		answer(outcomes, &outcome{}, nil)
	}
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, err)
			}
			os.Exit(0)
		}
		var r outcome
		var err error
		if o.Op == "leave" {
			leave(s, orders, outcomes)
		}
		if o.Aside {
			s.elsewhere(func() { err = s.act(o, &r) })
		} else {
			err = s.act(o, &r)
		}
		answer(outcomes, &r, err)
	}
}

func answer(outcomes *json.Encoder, r *outcome, err error) {
	if err != nil {
		r.Error = err.Error()
		var errno syscall.Errno
		if errors.As(err, &errno) {
			r.Errno = unix.ErrnoName(errno)
		}
	}
	if err := outcomes.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// leave ends the first thread; the process lives on in another one.
func leave(s *script, orders *json.Decoder, outcomes *json.Encoder) {
	ended := unix.Gettid()
	go func() {
		runtime.LockOSThread()
		state := fmt.Sprintf("/proc/self/task/%d/stat", ended)
		for { // a thread-group leader that has ended stays as a zombie
			b, err := os.ReadFile(state)
			if err != nil || strings.Contains(string(b), ") Z ") {
				break
			}
			runtime.Gosched()
		}
		answer(outcomes, &outcome{}, nil)
		for {
			var o order
			if err := orders.Decode(&o); err != nil {
				os.Exit(0)
			}
			var r outcome
			err := s.act(o, &r)
			answer(outcomes, &r, err)
		}
	}()
	// The runtime takes this thread for one in a long system call.
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// brief connects, closes and ends, without a pause: nobody can look at it meanwhile.
func brief(to netip.AddrPort) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err == nil {
		err = unix.Close(fd)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// script is an actor's own side.
type script struct {
	aside chan func()
	ring  *uring
}

func (s *script) elsewhere(f func()) {
	if s.aside == nil {
		s.aside = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range s.aside {
				f()
			}
		}()
	}
	done := make(chan struct{})
	s.aside <- func() { f(); close(done) }
	<-done
}

func (s *script) act(o order, r *outcome) (err error) {
	r.PID, r.TID, r.FD = os.Getpid(), unix.Gettid(), o.FD
	to := &unix.SockaddrInet4{}
	if o.Addr.IsValid() {
		to.Port, to.Addr = int(o.Addr.Port()), o.Addr.Addr().As4()
	}
	if strings.HasPrefix(o.Op, "uring_") && s.ring == nil {
		if s.ring, err = newUring(); err != nil {
			return err
		}
	}
	switch o.Op {
	case "hello":
		return nil
	case "listen":
		return listenOn(to, r)
	case "socket":
		r.FD, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return err
	case "connect":
		if err = unix.Connect(o.FD, to); err != nil {
			return err
		}
		return addresses(o.FD, r)
	case "uring_connect":
		if err = s.ring.connect(o.FD, to); err != nil {
			return err
		}
		return addresses(o.FD, r)
	case "accept":
		if r.FD, _, err = unix.Accept4(o.FD, unix.SOCK_CLOEXEC); err != nil {
			return err
		}
		return addresses(r.FD, r)
	case "uring_accept":
		if r.FD, err = s.ring.accept(o.FD); err != nil {
			return err
		}
		return addresses(r.FD, r)
	case "read_end":
		return readToEnd(o.FD)
	case "close":
		return unix.Close(o.FD)
	case "uring_close":
		return s.ring.close(o.FD)
	case "shutdown":
		return unix.Shutdown(o.FD, unix.SHUT_WR)
	case "uring_shutdown":
		return s.ring.shutdown(o.FD)
	case "reset": // make the next close() send an RST
		return unix.SetsockoptLinger(o.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case "dup2":
		r.FD = o.To
		return unix.Dup3(o.FD, o.To, unix.O_CLOEXEC)
	case "cloexec":
		_, err = unix.FcntlInt(uintptr(o.FD), unix.F_SETFD, unix.FD_CLOEXEC)
		return err
	case "disconnect":
		return disconnect(o.FD)
	case "spawn":
		return spawn(o, r)
	case "exec":
		return replace(o)
	case "exit":
		os.Exit(0)
	}
	return fmt.Errorf("no operation %q", o.Op)
}

func listenOn(at *unix.SockaddrInet4, r *outcome) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, at); err != nil {
		return err
	}
	r.FD = fd
	if err := unix.Listen(fd, 512); err != nil {
		return err
	}
	local, err := unix.Getsockname(fd)
	r.Local = addrPort(local)
	return err
}

func addresses(fd int, r *outcome) error {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	r.Local = addrPort(local)
	if peer, err := unix.Getpeername(fd); err == nil { // not of one that has been reset
		r.Peer = addrPort(peer)
	}
	return nil
}

func addrPort(s unix.Sockaddr) netip.AddrPort {
	a, ok := s.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
}

// readToEnd returns nil at an orderly end, and the socket's error otherwise.
func readToEnd(fd int) error {
	var b [256]byte
	for {
		n, err := unix.Read(fd, b[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

func disconnect(fd int) error {
	raw := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&raw)), unsafe.Sizeof(raw))
	if errno != 0 {
		return errno
	}
	return nil
}

// spawn starts another actor, which inherits the socket as inheritedFD and speaks through
// the pipes that this actor was given for it.
func spawn(o order, r *outcome) error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), actorEnv+"="+o.Name, againEnv+"=")
	in, out := os.NewFile(nurseryFD, "in"), os.NewFile(nurseryFD+1, "out")
	dup, err := unix.FcntlInt(uintptr(o.FD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	socket := os.NewFile(uintptr(dup), "socket")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	err = cmd.Start()
	if err := errors.Join(err, in.Close(), out.Close(), socket.Close()); err != nil {
		return err
	}
	r.PID = cmd.Process.Pid
	go cmd.Wait() // or it would stay as a zombie
	return nil
}

// replace goes on as another program, which keeps the socket.
func replace(o order) error {
	if _, err := unix.FcntlInt(uintptr(o.FD), unix.F_SETFD, 0); err != nil {
		return err
	}
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, actorEnv) {
			env = append(env, e)
		}
	}
	return syscall.Exec(o.Path, []string{o.Path}, append(env, actorEnv+"="+o.Name, againEnv+"=1"))
}

// newActor starts an actor inside the lab; exe is the program file, "" for this one.
func newActor(t *testing.T, lab *workload.Lab, name, exe string) *actor {
	t.Helper()
	a := &actor{t: t, name: name, exe: exe}
	file := exe
	if file == "" {
		file = "/proc/self/exe"
		var err error
		if a.exe, err = os.Readlink(file); err != nil {
			t.Fatal(err)
		}
	}
	childIn, toChild := pipe(t)
	fromChild, childOut := pipe(t)
	a.in, a.out = toChild, fromChild
	nurseIn, toNursling := pipe(t)
	fromNursling, nurseOut := pipe(t)
	a.nursery = [2]*os.File{toNursling, fromNursling}
	a.cmd = exec.Command(file)
	a.cmd.Env = append(os.Environ(), actorEnv+"="+name, "GODEBUG=asyncpreemptoff=1")
	a.cmd.Stdin, a.cmd.Stdout, a.cmd.Stderr = childIn, childOut, os.Stderr
	a.cmd.ExtraFiles = []*os.File{nurseIn, nurseOut}
	if err := lab.Do(a.cmd.Start); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{childIn, childOut, nurseIn, nurseOut} {
		f.Close()
	}
	a.pid = a.cmd.Process.Pid
	a.connectPipes()
	t.Cleanup(a.kill)
	a.do(order{Op: "hello"})
	return a
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func (a *actor) connectPipes() {
	a.orders = codec{Encoder: json.NewEncoder(a.in)}
	a.outcomes = codec{Decoder: json.NewDecoder(a.out)}
}

// try has the actor do something.
func (a *actor) try(o order) outcome {
	a.t.Helper()
	var r outcome
	if err := a.orders.Encode(o); err != nil {
		a.t.Fatalf("%s: %s: %v", a.name, o.Op, err)
	}
	if err := a.outcomes.Decode(&r); err != nil {
		a.t.Fatalf("%s: %s: %v", a.name, o.Op, err)
	}
	return r
}

// do is try for what must succeed.
func (a *actor) do(o order) outcome {
	a.t.Helper()
	r := a.try(o)
	if r.Error != "" {
		a.t.Fatalf("%s: %s: %s", a.name, o.Op, r.Error)
	}
	return r
}

// spawn has the actor start a child that inherits the socket, as inheritedFD.
func (a *actor) spawn(name string, fd int) *actor {
	a.t.Helper()
	r := a.do(order{Op: "spawn", FD: fd, Name: name})
	c := &actor{t: a.t, name: name, pid: r.PID, exe: a.exe, in: a.nursery[0], out: a.nursery[1]}
	c.connectPipes()
	c.do(order{Op: "hello"})
	return c
}

// exec makes the actor another program that keeps the socket.
func (a *actor) exec(name, exe string, fd int) {
	a.t.Helper()
	a.name, a.exe = name, exe
	a.do(order{Op: "exec", FD: fd, Name: name, Path: exe})
}

// exit ends the actor in an orderly way, and waits until the kernel has closed all that it had.
func (a *actor) exit() {
	a.t.Helper()
	if err := a.orders.Encode(order{Op: "exit"}); err != nil {
		a.t.Fatal(err)
	}
	a.ended()
}

func (a *actor) kill() {
	if a.cmd != nil && a.cmd.ProcessState == nil {
		a.cmd.Process.Kill()
		a.cmd.Wait()
	}
}

// ended waits for the end of an actor that is ending. A child's descriptors are closed in
// the order of their numbers, so a pipe that has ended does not mean that all are.
func (a *actor) ended() {
	a.t.Helper()
	if a.cmd != nil {
		a.cmd.Wait()
		return
	}
	fd, err := unix.PidfdOpen(a.pid, 0)
	if err == unix.ESRCH {
		return
	}
	if err != nil {
		a.t.Fatal(err)
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			return
		}
	}
}

// pair is a connection between two actors.
type pair struct {
	client, server     *actor
	clientFD, serverFD int
	local, peer        netip.AddrPort // the client's
}

// link connects two actors; listener is the server's.
func link(client, server *actor, listener outcome) pair {
	client.t.Helper()
	fd := client.do(order{Op: "socket"}).FD
	c := client.do(order{Op: "connect", FD: fd, Addr: listener.Local})
	s := server.do(order{Op: "accept", FD: listener.FD})
	return pair{client: client, server: server, clientFD: fd, serverFD: s.FD, local: c.Local, peer: c.Peer}
}

var loopback = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)

// linkFile gives this test's program file another name.
func linkFile(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/" + name
	if os.Link(self, path) == nil {
		return path
	}
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
