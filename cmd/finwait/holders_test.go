// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/workload"
)

// socketLine is a socket record.
type socketLine struct {
	line
	State   string
	Role    string
	AtLeast *time.Duration `json:"in_state_at_least_ns"`
	AtMost  *time.Duration `json:"in_state_at_most_ns"`
	Owners  []struct{ Process processRecord }
	Unread  int  `json:"unread_bytes"`
	Closed  bool `json:"peer_closed"`
}

func socketsOf(t *testing.T, lab *workload.Lab, args ...string) (list []socketLine) {
	t.Helper()
	run := newProgram(t, append([]string{"sockets", "-o", "json", "--netns", inode(lab)}, args...)...).start().exits(exitDone)
	for text := range strings.Lines(run.out.String()) {
		var s socketLine
		if err := json.Unmarshal([]byte(text), &s); err != nil || s.Type != "socket" {
			t.Fatalf("%v: %s", err, text)
		}
		list = append(list, s)
	}
	return list
}

// TestFeatureSockets: connections that are older than finwait, by state, holder and age.
func TestFeatureSockets(t *testing.T) {
	s := newStage(t)
	client, leaky := s.actor("client"), s.actor("leaky")
	listener := leaky.do(order{Op: "listen", Addr: loopback})
	open := link(client, leaky, listener)
	lost, passed := link(client, leaky, listener), link(client, leaky, listener)
	child := leaky.spawn("heir", passed.serverFD)
	leaky.do(order{Op: "close", FD: passed.serverFD})

	before := tracer.Now()
	client.do(order{Op: "close", FD: lost.clientFD})
	client.do(order{Op: "close", FD: passed.clientFD})
	leaky.do(order{Op: "read_end", FD: lost.serverFD}) // the FIN has come
	child.do(order{Op: "read_end", FD: inheritedFD})
	after := tracer.Now()

	tick, err := tracer.Tick()
	if err != nil {
		t.Fatal(err)
	}
	asked := tracer.Now()
	list := socketsOf(t, s.lab, "--state", "close-wait")
	if len(list) != 2 {
		t.Fatalf("%d sockets in CLOSE_WAIT, want 2: %+v", len(list), list)
	}
	for _, c := range list {
		owner := leaky
		if c.addresses().peer == passed.local {
			owner = child
		}
		if len(c.Owners) != 1 || c.Owners[0].Process != (processRecord{owner.pid, owner.name}) {
			t.Errorf("held by %+v, want %s[%d]", c.Owners, owner.name, owner.pid)
		}
		if c.Role != "server" || !c.Closed || c.Unread != 0 || c.AtLeast == nil || c.AtMost == nil {
			t.Errorf("%+v", c)
			continue
		}
		// The FIN came between the two moments, and the look was after it was asked for.
		if longest := time.Duration(c.KTime-before) + 2*tick; *c.AtLeast > longest {
			t.Errorf("in CLOSE_WAIT for at least %v, and it was %v at most", *c.AtLeast, longest)
		}
		if shortest := time.Duration(asked-after) - 2*tick; *c.AtMost < shortest || *c.AtMost < *c.AtLeast {
			t.Errorf("in CLOSE_WAIT for %v at most, and it was at least %v, %v", *c.AtMost, shortest, *c.AtLeast)
		}
	}
	if list := socketsOf(t, s.lab, "--older", "1h"); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if list := socketsOf(t, s.lab, "-p", fmt.Sprint(child.pid)); len(list) != 1 || list[0].State != "CLOSE_WAIT" {
		t.Errorf("of the child: %+v", list)
	}
	if list := socketsOf(t, s.lab, "--state", "ESTABLISHED", "-L", fmt.Sprint(listener.Local.Port())); len(list) != 1 || list[0].addresses().peer != open.local {
		t.Errorf("ESTABLISHED, of the server: %+v", list)
	}
	run := newProgram(t, "sockets", "--netns", inode(s.lab), "--state", "CLOSE_WAIT,FIN_WAIT2").start().exits(exitDone)
	for _, want := range []string{fmt.Sprintf("leaky[%d]", leaky.pid), fmt.Sprintf("heir[%d]", child.pid), "nobody: it is closed"} {
		if !strings.Contains(run.out.String(), want) {
			t.Errorf("no %q in\n%s", want, run.out.String())
		}
	}
}

// TestSocketsUnread: what came and was not read is counted, without the FIN.
func TestSocketsUnread(t *testing.T) {
	p := newPurse(t)
	listener := p.bind(web, 10)
	client, _ := p.connect(web, listener)
	if _, err := unix.Write(client, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	p.close(client)
	list := socketsOf(t, p.lab, "--state", "CLOSE_WAIT", "-L", "8090")
	if len(list) != 1 || list[0].Unread != 1000 {
		t.Errorf("%+v", list)
	}
}

// TestSocketsDead: an RST has ended the connection, and its program has not: ss does not see it any more.
func TestSocketsDead(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	listener := server.do(order{Op: "listen", Addr: loopback})
	dead, alive := link(client, server, listener), link(client, server, listener)
	server.do(order{Op: "socket"}) // was never one
	client.do(order{Op: "reset", FD: dead.clientFD})
	client.do(order{Op: "close", FD: dead.clientFD})
	if r := server.try(order{Op: "read_end", FD: dead.serverFD}); r.Errno != "ECONNRESET" {
		t.Fatalf("%+v", r)
	}
	list := socketsOf(t, s.lab, "--state", "CLOSE")
	if len(list) != 1 || list[0].addresses() != (ends{dead.peer, dead.local}) || len(list[0].Owners) != 1 || list[0].Owners[0].Process.PID != server.pid {
		t.Errorf("%+v, want that of %v", list, dead.local)
	}
	if list := socketsOf(t, s.lab, "-L", fmt.Sprint(alive.local.Port())); len(list) != 1 || list[0].State != "ESTABLISHED" {
		t.Errorf("%+v", list)
	}
}

func TestSocketsEnds(t *testing.T) {
	needsKernel(t)
	for _, args := range [][]string{{"--state", "LISTEN"}, {"--state", "OPEN"}, {"--older", "-1s"}, {"-i", "0"}, {"more"}} {
		newProgram(t, append([]string{"sockets"}, args...)...).start().exits(exitUsage)
	}
	newProgram(t, "sockets").as().start().exits(exitPrivilege)
}

// TestWatch: one table after the other, until Ctrl-C.
func TestWatch(t *testing.T) {
	p := newPurse(t)
	listener := p.bind(web, 10)
	p.connect(web, listener)
	for _, command := range []string{"budget", "sockets"} {
		run := newProgram(t, command, "--netns", inode(p.lab), "--watch", "-i", "20ms").start()
		run.await("at the third table", func() bool { return strings.Count(run.out.String(), "LOCAL") >= 3 })
		run.signal(os.Interrupt).exits(exitDone)
		if n := strings.Count(run.out.String(), web); n < 3 {
			t.Errorf("%s --watch: %s is in %d tables:\n%s", command, web, n, run.out.String())
		}
		newProgram(t, command, "--netns", inode(p.lab), "--watch", "-i", "20ms", "-d", "50ms").start().exits(exitDone)
	}
	// A second look finds the connection where the first one did.
	run := newProgram(t, "sockets", "--netns", inode(p.lab), "--watch", "-i", "20ms", "--older", "40ms", "-o", "json").start()
	run.await("at an older socket", func() bool { return strings.Contains(run.out.String(), "ESTABLISHED") })
	run.signal(os.Interrupt).exits(exitDone)
}
