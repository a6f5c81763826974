// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"finwait/tracer/event"
)

// needsTool skips a test in a guest that has nothing but the test binary.
func needsTool(t *testing.T, name string) string {
	t.Helper()
	if os.Getenv("FINWAIT_EMULATOR") != "" {
		t.Skip("kernel lacks: needs a full Debian userland")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("kernel lacks: %v", err)
	}
	return path
}

// forking accepts, forks, and lets the parent close its copy. Each line on stdin is
// answered when the step is done. What comes after fork() runs in the child until the
// parent's next step.
const forking = `
import os, socket, sys

def say(*what):
    print(*what, flush=True)

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
say(listener.getsockname()[1])
connection, _ = listener.accept()
told, tell = os.pipe()
done, finish = os.pipe()
child = os.fork()
if child == 0:
    os.close(tell)
    os.read(told, 1)
    while connection.recv(100):
        pass
    os.write(finish, b"x")
    os.read(told, 1)
    connection.close()
    os._exit(0)
connection.close()
say(child)
sys.stdin.readline()
os.write(tell, b"x")
os.read(done, 1)
say("seen")
sys.stdin.readline()
os.write(tell, b"x")
os.waitpid(child, 0)
say("closed")
sys.stdin.readline()
`

// TestHostFork: a server that accepts, forks, and closes its own copy is not the owner.
func TestHostFork(t *testing.T) {
	python := needsTool(t, "python3")
	s := newStage(t)
	client := s.actor("client")
	cmd := exec.Command(python, "-c", forking)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	s.trace()
	if err := s.lab.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewReader(out)
	number := func() (n int) {
		t.Helper()
		if _, err := fmt.Fscanln(lines, &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	step := func(want string) {
		t.Helper()
		io.WriteString(in, "\n")
		if got, err := lines.ReadString('\n'); err != nil || strings.TrimSpace(got) != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	listener := netip.AddrPortFrom(loopback.Addr(), uint16(number()))
	fd := client.do(order{Op: "socket"}).FD
	p := client.do(order{Op: "connect", FD: fd, Addr: listener})
	child := number() // the parent has closed its copy
	client.do(order{Op: "close", FD: fd})
	step("seen")
	step("closed")
	s.end()
	c := s.seen(p.Peer, p.Local)
	for _, row := range c.rows {
		if pid := int(row.Process.PID); pid == cmd.Process.Pid {
			t.Errorf("%v → %v is put down to the parent, which had closed its copy:%v", row.Old, row.New, c)
		} else if pid != 0 && pid != child {
			t.Errorf("%v → %v is put down to process %d:%v", row.Old, row.New, pid, c)
		}
	}
	last := c.step(t, event.CloseWait, event.LastAck)
	if int(last.Process.PID) != child || last.Attribution != event.Exact {
		t.Errorf("LAST_ACK is put down to process %d, %v; want the child, %d, exact", last.Process.PID, last.Attribution, child)
	}
	s.seen(p.Local, p.Peer).among(t, client)
}
