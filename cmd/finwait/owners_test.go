// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/workload"
)

// TestOwnerGivenAway: whoever accepted and passed the descriptor on is not the owner any more.
func TestOwnerGivenAway(t *testing.T) {
	s := newStage(t)
	s.trace()
	ledger, err := s.lab.Run(s.ctx, workload.ForkChild)
	if err != nil {
		t.Fatal(err)
	}
	s.end()
	server := ledger.Closes[0].Server
	c := s.seen(server.Local, server.Peer)
	if p := c.step(t, event.Established, event.CloseWait).Process; p.Known() && int(p.PID) != server.PID {
		t.Errorf("CLOSE_WAIT is put down to process %d; %d holds the socket, %d gave it away", p.PID, server.PID, server.Opener)
	}
	last := c.step(t, event.CloseWait, event.LastAck)
	if int(last.Process.PID) != server.PID || last.Attribution != event.Exact {
		t.Errorf("LAST_ACK is put down to process %d, %v; want %d, exact", last.Process.PID, last.Attribution, server.PID)
	}
}

// TestOwnerInherited: a child has the parent's socket too.
func TestOwnerInherited(t *testing.T) {
	t.Run("both hold it", func(t *testing.T) {
		s := newStage(t)
		client, parent := s.actor("client"), s.actor("parent")
		s.trace()
		p := link(client, parent, parent.do(order{Op: "listen", Addr: loopback}))
		child := parent.spawn("child", p.serverFD)
		client.do(order{Op: "close", FD: p.clientFD})
		child.do(order{Op: "read_end", FD: inheritedFD})
		parent.do(order{Op: "close", FD: p.serverFD})
		child.exit()
		s.end()
		c := s.seen(p.peer, p.local)
		c.among(t, parent, child)
		if !c.step(t, event.Established, event.CloseWait).Process.Known() {
			t.Error("CLOSE_WAIT: nobody is named, though the process that accepted still holds the socket")
		}
		c.exactly(t, event.CloseWait, event.LastAck, child, event.MethodExit)
		c.ended(t, event.CloserPeer, event.MethodFin)
	})
	t.Run("the parent lets go, the child exits", func(t *testing.T) {
		s := newStage(t)
		client, parent := s.actor("client"), s.actor("parent")
		s.trace()
		p := link(client, parent, parent.do(order{Op: "listen", Addr: loopback}))
		child := parent.spawn("child", p.serverFD)
		parent.do(order{Op: "close", FD: p.serverFD})
		child.exit()
		client.do(order{Op: "read_end", FD: p.clientFD})
		client.do(order{Op: "close", FD: p.clientFD})
		s.end()
		c := s.seen(p.peer, p.local)
		c.among(t, child)
		c.exactly(t, event.Established, event.FinWait1, child, event.MethodExit)
		c.ended(t, event.CloserLocal, event.MethodExit)
	})
	// What else closes a descriptor, in a process that has never been seen with it.
	for how, let := range map[string]func(child *actor, spare int){
		"dup2() takes its place": func(child *actor, spare int) {
			child.do(order{Op: "dup2", FD: spare, To: inheritedFD})
		},
		"exec() closes it": func(child *actor, spare int) {
			child.do(order{Op: "cloexec", FD: inheritedFD})
			child.exec("child", linkFile(t, "child"), spare)
		},
		"io_uring closes it": func(child *actor, spare int) {
			if r := child.try(order{Op: "uring_close", FD: inheritedFD}); r.Error != "" {
				child.do(order{Op: "close", FD: inheritedFD}) // this kernel has no io_uring
			}
		},
	} {
		t.Run("the parent lets go, "+how, func(t *testing.T) {
			s := newStage(t)
			client, parent := s.actor("client"), s.actor("parent")
			s.trace()
			p := link(client, parent, parent.do(order{Op: "listen", Addr: loopback}))
			child := parent.spawn("child", p.serverFD)
			parent.do(order{Op: "close", FD: p.serverFD})
			let(child, child.do(order{Op: "socket"}).FD)
			client.do(order{Op: "read_end", FD: p.clientFD})
			client.do(order{Op: "close", FD: p.clientFD})
			s.end()
			c := s.seen(p.peer, p.local)
			c.among(t, child)
			c.exactly(t, event.Established, event.FinWait1, child, event.MethodClose)
			c.ended(t, event.CloserLocal, event.MethodClose)
		})
	}
	t.Run("the parent lets go, the client closes", func(t *testing.T) {
		s := newStage(t)
		client, parent := s.actor("client"), s.actor("parent")
		s.trace()
		p := link(client, parent, parent.do(order{Op: "listen", Addr: loopback}))
		child := parent.spawn("child", p.serverFD)
		parent.do(order{Op: "close", FD: p.serverFD})
		client.do(order{Op: "close", FD: p.clientFD})
		child.do(order{Op: "read_end", FD: inheritedFD})
		child.do(order{Op: "close", FD: inheritedFD})
		s.end()
		c := s.seen(p.peer, p.local)
		c.among(t, child)
		c.exactly(t, event.CloseWait, event.LastAck, child, event.MethodClose)
		s.seen(p.local, p.peer).among(t, client)
	})
	t.Run("the parent dies, the client closes", func(t *testing.T) {
		s := newStage(t)
		client, parent := s.actor("client"), s.actor("parent")
		s.trace()
		p := link(client, parent, parent.do(order{Op: "listen", Addr: loopback}))
		child := parent.spawn("child", p.serverFD)
		parent.kill()
		client.do(order{Op: "shutdown", FD: p.clientFD})
		child.do(order{Op: "read_end", FD: inheritedFD})
		child.do(order{Op: "close", FD: inheritedFD})
		client.do(order{Op: "read_end", FD: p.clientFD})
		client.do(order{Op: "close", FD: p.clientFD})
		s.end()
		c := s.seen(p.peer, p.local)
		c.among(t, child)
		c.exactly(t, event.CloseWait, event.LastAck, child, event.MethodClose)
	})
}

// TestOwnerShutDown: shutdown(), then close(), before the peer has closed: nobody holds a descriptor
// any more when the rest happens, and it is the closer's all the same. Java closes like this.
func TestOwnerShutDown(t *testing.T) {
	for how, let := range map[string]func(client *actor, fd int){
		"close()": func(client *actor, fd int) { client.do(order{Op: "close", FD: fd}) },
		"dup2() takes its place": func(client *actor, fd int) {
			client.do(order{Op: "dup2", FD: client.do(order{Op: "socket"}).FD, To: fd})
		},
		"another thread's close()": func(client *actor, fd int) { client.do(order{Op: "close", FD: fd, Aside: true}) },
	} {
		t.Run(how, func(t *testing.T) {
			s := newStage(t)
			client, server := s.actor("client"), s.actor("server")
			s.trace()
			p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
			client.do(order{Op: "shutdown", FD: p.clientFD})
			let(client, p.clientFD)
			server.do(order{Op: "read_end", FD: p.serverFD})
			server.do(order{Op: "shutdown", FD: p.serverFD})
			server.do(order{Op: "close", FD: p.serverFD})
			s.end()
			c := s.seen(p.local, p.peer)
			c.among(t, client)
			c.exactly(t, event.Established, event.FinWait1, client, event.MethodShutdown)
			client.is(t, &c.step(t, event.FinWait2, event.TimeWait).Process, "FIN_WAIT2 → TIME_WAIT")
			s.seen(p.peer, p.local).among(t, server)
		})
	}
	// One process shuts down, another one holds the socket still: it is not the first one's any more.
	t.Run("a child holds it", func(t *testing.T) {
		s := newStage(t)
		client, parent := s.actor("client"), s.actor("parent")
		s.trace()
		p := link(client, parent, parent.do(order{Op: "listen", Addr: loopback}))
		child := parent.spawn("child", p.serverFD)
		parent.do(order{Op: "shutdown", FD: p.serverFD})
		parent.do(order{Op: "close", FD: p.serverFD})
		child.do(order{Op: "close", FD: inheritedFD})
		client.do(order{Op: "read_end", FD: p.clientFD})
		client.do(order{Op: "close", FD: p.clientFD})
		s.end()
		c := s.seen(p.peer, p.local)
		c.among(t, parent, child)
		c.exactly(t, event.Established, event.FinWait1, parent, event.MethodShutdown)
		child.is(t, &c.step(t, event.FinWait2, event.TimeWait).Process, "FIN_WAIT2 → TIME_WAIT")
	})
}

// TestOwnerDup: the descriptor that the owner was seen with is closed, another one is not.
func TestOwnerDup(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	s.trace()
	p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
	second := server.do(order{Op: "dup2", FD: p.serverFD, To: 200}).FD
	server.do(order{Op: "close", FD: p.serverFD})
	// The number goes to somebody else's connection.
	other := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
	client.do(order{Op: "close", FD: p.clientFD})
	server.do(order{Op: "read_end", FD: second})
	server.do(order{Op: "close", FD: second})
	client.do(order{Op: "close", FD: other.clientFD})
	server.do(order{Op: "read_end", FD: other.serverFD})
	server.do(order{Op: "close", FD: other.serverFD})
	s.end()
	for _, p := range []pair{p, other} {
		c := s.seen(p.peer, p.local)
		c.among(t, server)
		c.exactly(t, event.CloseWait, event.LastAck, server, event.MethodClose)
		c.ended(t, event.CloserPeer, event.MethodFin)
		s.seen(p.local, p.peer).among(t, client)
	}
}

// TestOwnerExec: the process stays, its program and its name do not.
func TestOwnerExec(t *testing.T) {
	s := newStage(t)
	server := s.actor("server")
	client := newActor(t, s.lab, "before", linkFile(t, "program-before"))
	s.trace()
	listener := server.do(order{Op: "listen", Addr: loopback})
	// A first connection makes the program file known.
	before := *client
	first := link(client, server, listener)
	client.do(order{Op: "close", FD: first.clientFD})
	server.do(order{Op: "read_end", FD: first.serverFD})
	server.do(order{Op: "close", FD: first.serverFD})
	s.rig.settled(nil)
	second := link(client, server, listener)
	client.exec("after", linkFile(t, "program-after"), second.clientFD)
	server.do(order{Op: "shutdown", FD: second.serverFD})
	client.do(order{Op: "read_end", FD: second.clientFD})
	client.do(order{Op: "close", FD: second.clientFD})
	server.do(order{Op: "close", FD: second.serverFD})
	s.end()
	c := s.seen(first.local, first.peer)
	c.among(t, &before)
	if exe := c.exactly(t, event.Established, event.FinWait1, &before, event.MethodClose).Process.Exe; exe != before.exe {
		t.Errorf("program %q, want %q", exe, before.exe)
	}
	c = s.seen(second.local, second.peer)
	c.among(t, client)
	if exe := c.exactly(t, event.CloseWait, event.LastAck, client, event.MethodClose).Process.Exe; exe != client.exe {
		t.Errorf("program %q, want %q", exe, client.exe)
	}
}

// TestOwnerExecAtOnce: the program that closed has become another one before anybody
// could look at it.
func TestOwnerExecAtOnce(t *testing.T) {
	s := newStage(t)
	server := s.actor("server")
	client := newActor(t, s.lab, "before", linkFile(t, "program-before"))
	s.trace()
	p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
	before := *client
	spare := client.do(order{Op: "socket"}).FD
	client.do(order{Op: "close", FD: p.clientFD})
	client.exec("after", linkFile(t, "program-after"), spare)
	server.do(order{Op: "read_end", FD: p.serverFD})
	server.do(order{Op: "close", FD: p.serverFD})
	s.end()
	c := s.seen(p.local, p.peer)
	c.exactly(t, event.Established, event.FinWait1, &before, event.MethodClose)
	c.among(t, &before)
}

// TestOwnerUring: the calls are made by io_uring, in the process's own context or by its workers.
func TestOwnerUring(t *testing.T) {
	for _, how := range []event.Method{event.MethodClose, event.MethodShutdown} {
		t.Run(how.String(), func(t *testing.T) {
			s := newStage(t)
			client, server := s.actor("client"), s.actor("server")
			s.trace()
			listener := server.do(order{Op: "listen", Addr: loopback})
			fd := client.do(order{Op: "socket"}).FD
			r := client.try(order{Op: "uring_connect", FD: fd, Addr: listener.Local})
			if r.Errno == "ENOSYS" || r.Errno == "EPERM" || r.Errno == "EINVAL" {
				t.Skipf("kernel lacks: io_uring: %s", r.Error)
			}
			if r.Error != "" {
				t.Fatal(r.Error)
			}
			accepted := server.do(order{Op: "uring_accept", FD: listener.FD}).FD
			if how == event.MethodShutdown {
				if r := client.try(order{Op: "uring_shutdown", FD: fd}); r.Errno == "EINVAL" {
					t.Skipf("kernel lacks: shutdown through io_uring: %s", r.Error)
				} else if r.Error != "" {
					t.Fatal(r.Error)
				}
			} else {
				client.do(order{Op: "uring_close", FD: fd})
			}
			server.do(order{Op: "read_end", FD: accepted})
			server.do(order{Op: "uring_close", FD: accepted})
			if how == event.MethodShutdown {
				client.do(order{Op: "read_end", FD: fd})
				client.do(order{Op: "uring_close", FD: fd})
			}
			s.end()
			c := s.seen(r.Local, r.Peer)
			c.among(t, client)
			c.exactly(t, event.Established, event.FinWait1, client, how)
			c.ended(t, event.CloserLocal, how)
			c = s.seen(r.Peer, r.Local)
			c.among(t, server)
			c.exactly(t, event.CloseWait, event.LastAck, server, event.MethodClose)
			if p := c.step(t, event.Established, event.CloseWait); !p.Process.Known() && uringAcceptSeen(s.rig.tracer) {
				t.Error("CLOSE_WAIT: nobody is named, though accept() through io_uring is watched")
			}
		})
	}
}

func uringAcceptSeen(t *tracer.Tracer) bool {
	return slices.ContainsFunc(t.Hooks(), func(h tracer.HookStatus) bool {
		return h.Name == "accept_io_uring" && h.Attached != ""
	})
}

// TestOwnerThreads: one thread connects, another one closes; the process is one.
func TestOwnerThreads(t *testing.T) {
	t.Run("another closes", func(t *testing.T) {
		s := newStage(t)
		client, server := s.actor("client"), s.actor("server")
		s.trace()
		p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
		tid := client.do(order{Op: "close", FD: p.clientFD, Aside: true}).TID
		server.do(order{Op: "read_end", FD: p.serverFD})
		server.do(order{Op: "close", FD: p.serverFD})
		s.end()
		c := s.seen(p.local, p.peer)
		c.among(t, client)
		row := c.exactly(t, event.Established, event.FinWait1, client, event.MethodClose)
		if int(row.Process.TID) != tid || tid == client.pid {
			t.Errorf("thread %d, want %d, which is not the first", row.Process.TID, tid)
		}
	})
	t.Run("the first one has ended", func(t *testing.T) {
		s := newStage(t)
		client, server := s.actor("client"), s.actor("server")
		s.trace()
		p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
		second := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
		client.do(order{Op: "leave"})
		server.do(order{Op: "shutdown", FD: second.serverFD})
		client.do(order{Op: "read_end", FD: second.clientFD})
		client.do(order{Op: "close", FD: second.clientFD})
		tid := client.do(order{Op: "close", FD: p.clientFD}).TID
		server.do(order{Op: "read_end", FD: p.serverFD})
		server.do(order{Op: "close", FD: p.serverFD})
		server.do(order{Op: "close", FD: second.serverFD})
		s.end()
		c := s.seen(p.local, p.peer)
		c.among(t, client)
		row := c.exactly(t, event.Established, event.FinWait1, client, event.MethodClose)
		if int(row.Process.TID) != tid {
			t.Errorf("thread %d, want %d", row.Process.TID, tid)
		}
		c = s.seen(second.local, second.peer)
		c.among(t, client)
		c.exactly(t, event.CloseWait, event.LastAck, client, event.MethodClose)
	})
}

// TestOwnerBrief: two hundred processes of two programs that connect, close and end at once.
func TestOwnerBrief(t *testing.T) {
	const processes, atATime = 200, 8
	s := newStage(t)
	server := s.actor("server")
	listener := server.do(order{Op: "listen", Addr: loopback})
	programs := []string{linkFile(t, "program-one"), linkFile(t, "program-two")}
	s.trace()
	brief := make(map[int]*actor, processes)
	for first := 0; first < processes; first += atATime {
		var running []*exec.Cmd
		for i := first; i < min(first+atATime, processes); i++ {
			name := fmt.Sprintf("brief-%d", i)
			cmd := exec.Command(programs[i%len(programs)])
			cmd.Env = append(os.Environ(), actorEnv+"="+name, briefEnv+"="+listener.Local.String())
			if err := s.lab.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			if brief[cmd.Process.Pid] != nil {
				t.Fatalf("pid %d came twice", cmd.Process.Pid)
			}
			brief[cmd.Process.Pid] = &actor{name: name, pid: cmd.Process.Pid, exe: programs[i%len(programs)]}
			running = append(running, cmd)
		}
		for _, cmd := range running {
			fd := server.do(order{Op: "accept", FD: listener.FD}).FD
			server.do(order{Op: "read_end", FD: fd})
			server.do(order{Op: "close", FD: fd})
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A FIN that is there before accept() is acknowledged by a timer, which interrupts
	// anything. A host that hides one of its own processes from BPF hides that, too.
	s.over()
	var exact, programKnown int
	for e, list := range s.found {
		if e.local == listener.Local {
			for _, c := range list {
				c.among(t, server)
			}
			continue
		}
		for _, c := range list {
			first := c.step(t, event.Established, event.FinWait1)
			a := brief[int(first.Process.PID)]
			if a == nil {
				t.Fatalf("put down to process %d %q, which is none of ours", first.Process.PID, first.Process.Comm)
			}
			c.among(t, a)
			c.exactly(t, event.Established, event.FinWait1, a, event.MethodClose)
			delete(brief, a.pid)
			exact++
			if first.Process.Exe != "" {
				programKnown++
			}
		}
	}
	if len(brief) > 0 {
		t.Errorf("%d processes have no row", len(brief))
	}
	t.Logf("%d exact, the program file was still there for %d", exact, programKnown)
}

// TestOwnerPIDReused: the process that accepted is gone, and another one has its number.
func TestOwnerPIDReused(t *testing.T) {
	const lastPID = "/proc/sys/kernel/ns_last_pid"
	if _, err := os.Stat(lastPID); err != nil {
		t.Skipf("kernel lacks: %v", err)
	}
	s := newStage(t)
	client := s.actor("client")
	s.trace()
	for range 20 { // somebody else may be given the number
		parent := newActor(t, s.lab, "parent", linkFile(t, "program-before"))
		listener := parent.do(order{Op: "listen", Addr: loopback})
		p := link(client, parent, listener)
		closed := link(client, parent, listener)
		child := parent.spawn("child", p.serverFD)
		parent.do(order{Op: "close", FD: closed.serverFD})
		parent.kill()
		if err := os.WriteFile(lastPID, fmt.Append(nil, parent.pid-1), 0); err != nil {
			t.Skipf("kernel lacks: %v", err)
		}
		impostor := newActor(t, s.lab, "impostor", linkFile(t, "program-after"))
		// It has a connection behind the same descriptor, too.
		its := link(client, impostor, impostor.do(order{Op: "listen", Addr: loopback}))
		client.do(order{Op: "close", FD: p.clientFD})
		child.do(order{Op: "read_end", FD: inheritedFD})
		child.do(order{Op: "close", FD: inheritedFD})
		client.do(order{Op: "close", FD: closed.clientFD})
		client.do(order{Op: "close", FD: its.clientFD})
		impostor.do(order{Op: "read_end", FD: its.serverFD})
		impostor.do(order{Op: "close", FD: its.serverFD})
		if impostor.pid != parent.pid {
			continue
		}
		s.end()
		c := s.seen(p.peer, p.local)
		c.among(t, child)
		c.exactly(t, event.CloseWait, event.LastAck, child, event.MethodClose)
		s.seen(closed.peer, closed.local).among(t, parent)
		c = s.seen(its.peer, its.local)
		c.among(t, impostor)
		c.exactly(t, event.CloseWait, event.LastAck, impostor, event.MethodClose)
		return
	}
	t.Skip("kernel lacks: a quiet moment: the number always went to somebody else")
}

// TestOwnerLookedAt: somebody who reads about a descriptor in /proc holds its file for a
// moment. When the owner closes it in that moment, the last close is the onlooker's, who
// never owned anything.
func TestOwnerLookedAt(t *testing.T) {
	const connections = 2000
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	s.trace()
	listener := server.do(order{Op: "listen", Addr: loopback})
	fd := client.do(order{Op: "socket"}).FD // the number that every connection will have
	client.do(order{Op: "close", FD: fd})
	done := make(chan struct{})
	looked := make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-done:
				looked <- n
				return
			default:
				if _, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", client.pid, fd)); err == nil {
					n++
				}
			}
		}
	}()
	for range connections {
		p := link(client, server, listener)
		client.do(order{Op: "close", FD: p.clientFD})
		server.do(order{Op: "read_end", FD: p.serverFD})
		server.do(order{Op: "close", FD: p.serverFD})
	}
	close(done)
	n := <-looked
	s.end()
	var onlookers int
	for e, list := range s.found {
		for _, c := range list {
			if e.local == listener.Local {
				c.among(t, server)
				continue
			}
			c.among(t, client)
			if p := c.step(t, event.Established, event.FinWait1).Process; !p.Known() {
				onlookers++
			}
		}
	}
	t.Logf("looked %d times; %d of %d closes were made by the onlooker", n, onlookers, connections)
}
