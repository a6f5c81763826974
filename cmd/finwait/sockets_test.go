// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"finwait/tracer/event"
)

// TestSocketSeeded: the connections are older than the trace.
func TestSocketSeeded(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	listener := server.do(order{Op: "listen", Addr: loopback})
	held, passed := link(client, server, listener), link(client, server, listener)
	s.trace()
	later := link(client, server, listener)
	child := server.spawn("child", passed.serverFD)
	server.do(order{Op: "close", FD: passed.serverFD})
	for _, p := range []pair{held, passed, later} {
		client.do(order{Op: "close", FD: p.clientFD})
	}
	server.do(order{Op: "read_end", FD: held.serverFD})
	server.do(order{Op: "close", FD: held.serverFD})
	server.do(order{Op: "read_end", FD: later.serverFD})
	server.do(order{Op: "close", FD: later.serverFD})
	child.do(order{Op: "read_end", FD: inheritedFD})
	child.do(order{Op: "close", FD: inheritedFD})
	s.end()

	c := s.seen(held.peer, held.local)
	row := c.step(t, event.Established, event.CloseWait)
	server.is(t, &row.Process, "CLOSE_WAIT")
	if row.Attribution != event.Seeded {
		t.Errorf("CLOSE_WAIT: attribution %v, want seeded", row.Attribution)
	}
	c.exactly(t, event.CloseWait, event.LastAck, server, event.MethodClose)
	c.among(t, server)

	c = s.seen(passed.peer, passed.local)
	c.among(t, child)
	c.exactly(t, event.CloseWait, event.LastAck, child, event.MethodClose)

	for _, p := range []pair{held, passed, later} {
		for _, c := range []*connection{s.seen(p.local, p.peer), s.seen(p.peer, p.local)} {
			for _, row := range c.rows {
				if row.Existed != (p != later) {
					t.Errorf("%v → %v: existed %v, want %v:%v", row.Old, row.New, row.Existed, p != later, c)
				}
			}
		}
		s.seen(p.local, p.peer).among(t, client)
	}
}

// TestSocketHalfClosedBefore: the first closing step is older than the trace. The state that
// it led to still tells whose it was; how it was done, only where there is just one way.
func TestSocketHalfClosedBefore(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
	client.do(order{Op: "shutdown", FD: p.clientFD})
	server.do(order{Op: "read_end", FD: p.serverFD})
	s.trace()
	server.do(order{Op: "close", FD: p.serverFD})
	client.do(order{Op: "read_end", FD: p.clientFD})
	client.do(order{Op: "close", FD: p.clientFD})
	s.end()
	c := s.seen(p.peer, p.local)
	c.among(t, server)
	c.exactly(t, event.CloseWait, event.LastAck, server, event.MethodClose)
	c.ended(t, event.CloserPeer, event.MethodFin)
	c = s.seen(p.local, p.peer)
	c.among(t, client)
	c.ended(t, event.CloserLocal, event.MethodUnknown)
	if row := c.step(t, event.FinWait2, event.TimeWait); !row.Existed || !row.Process.Known() || row.Attribution != event.Seeded {
		t.Errorf("existed %v, process %d, %v; want the client, seeded", row.Existed, row.Process.PID, row.Attribution)
	}
}

// TestSocketNeverAccepted: connections that wait at a listening socket have no owner yet,
// unless just one process can accept them.
func TestSocketNeverAccepted(t *testing.T) {
	t.Run("the listener is closed", func(t *testing.T) {
		s := newStage(t)
		client, server := s.actor("client"), s.actor("server")
		s.trace()
		listener := server.do(order{Op: "listen", Addr: loopback})
		fd := client.do(order{Op: "socket"}).FD
		p := client.do(order{Op: "connect", FD: fd, Addr: listener.Local})
		server.do(order{Op: "close", FD: listener.FD})
		if r := client.try(order{Op: "read_end", FD: fd}); r.Errno != "ECONNRESET" {
			t.Fatalf("the client saw %q, want ECONNRESET", r.Error)
		}
		client.do(order{Op: "close", FD: fd})
		s.end()
		c := s.seen(p.Peer, p.Local)
		c.among(t, server)
		c.ended(t, event.CloserLocal, event.MethodListener)
		c = s.seen(p.Local, p.Peer)
		c.among(t, client)
		c.ended(t, event.CloserPeer, event.MethodRst)
	})
	t.Run("the client resets, the listener is closed", func(t *testing.T) {
		s := newStage(t)
		client, server := s.actor("client"), s.actor("server")
		s.trace()
		listener := server.do(order{Op: "listen", Addr: loopback})
		fd := client.do(order{Op: "socket"}).FD
		p := client.do(order{Op: "connect", FD: fd, Addr: listener.Local})
		client.do(order{Op: "reset", FD: fd})
		client.do(order{Op: "close", FD: fd})
		server.do(order{Op: "close", FD: listener.FD})
		s.end()
		c := s.seen(p.Peer, p.Local)
		c.among(t, server) // or nobody's
		c.ended(t, event.CloserPeer, event.MethodRst)
		if len(s.rig.releases) != 1 || s.rig.releases[0].Process.Known() {
			t.Errorf("releases: %+v; want one, of nobody's", s.rig.releases)
		}
		if n := s.rig.flow.Stats().Conns; n != 0 {
			t.Errorf("%d connections are still followed", n)
		}
	})
	t.Run("two listen, the client closes first", func(t *testing.T) {
		s := newStage(t)
		client, parent := s.actor("client"), s.actor("parent")
		s.trace()
		listener := parent.do(order{Op: "listen", Addr: loopback})
		child := parent.spawn("child", listener.FD)
		fd := client.do(order{Op: "socket"}).FD
		p := client.do(order{Op: "connect", FD: fd, Addr: listener.Local})
		client.do(order{Op: "close", FD: fd})
		accepted := child.do(order{Op: "accept", FD: inheritedFD}).FD
		child.do(order{Op: "read_end", FD: accepted})
		child.do(order{Op: "close", FD: accepted})
		s.end()
		c := s.seen(p.Peer, p.Local)
		if row := c.step(t, event.Established, event.CloseWait); row.Process.Known() {
			t.Errorf("CLOSE_WAIT is put down to process %d; nobody had accepted, and two could", row.Process.PID)
		}
		c.among(t, child)
		c.exactly(t, event.CloseWait, event.LastAck, child, event.MethodClose)
	})
	t.Run("the client closes first", func(t *testing.T) {
		s := newStage(t)
		client, server := s.actor("client"), s.actor("server")
		s.trace()
		listener := server.do(order{Op: "listen", Addr: loopback})
		fd := client.do(order{Op: "socket"}).FD
		p := client.do(order{Op: "connect", FD: fd, Addr: listener.Local})
		client.do(order{Op: "close", FD: fd})
		// The FIN takes effect in the client's own close(): loopback.
		accepted := server.do(order{Op: "accept", FD: listener.FD}).FD
		server.do(order{Op: "read_end", FD: accepted})
		server.do(order{Op: "close", FD: accepted})
		s.end()
		c := s.seen(p.Peer, p.Local)
		c.among(t, server) // alone with the listening socket, it is as good as an owner
		c.exactly(t, event.CloseWait, event.LastAck, server, event.MethodClose)
		c.ended(t, event.CloserPeer, event.MethodFin)
		s.seen(p.Local, p.Peer).among(t, client)
	})
}

// TestSocketDisconnect: connect(AF_UNSPEC) ends the connection, and the socket can connect again.
func TestSocketDisconnect(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	s.trace()
	one := server.do(order{Op: "listen", Addr: loopback})
	two := server.do(order{Op: "listen", Addr: loopback})
	p := link(client, server, one)
	client.do(order{Op: "disconnect", FD: p.clientFD})
	if r := server.try(order{Op: "read_end", FD: p.serverFD}); r.Errno != "ECONNRESET" {
		t.Fatalf("the server saw %q, want ECONNRESET", r.Error)
	}
	server.do(order{Op: "close", FD: p.serverFD})
	// The same socket, another connection.
	again := client.do(order{Op: "connect", FD: p.clientFD, Addr: two.Local})
	fd := server.do(order{Op: "accept", FD: two.FD}).FD
	client.do(order{Op: "close", FD: p.clientFD})
	server.do(order{Op: "read_end", FD: fd})
	server.do(order{Op: "close", FD: fd})
	s.end()
	c := s.seen(p.local, p.peer)
	c.among(t, client)
	c.exactly(t, event.Established, event.Close, client, event.MethodDisconnect)
	c.ended(t, event.CloserLocal, event.MethodDisconnect)
	c = s.seen(p.peer, p.local)
	c.among(t, server)
	c.ended(t, event.CloserPeer, event.MethodRst)
	c = s.seen(again.Local, again.Peer)
	c.among(t, client)
	c.exactly(t, event.Established, event.FinWait1, client, event.MethodClose)
	c.ended(t, event.CloserLocal, event.MethodClose)
}

// TestSocketConnectsAgain: a socket that an RST killed is used for another connection.
func TestSocketConnectsAgain(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	s.trace()
	one := server.do(order{Op: "listen", Addr: loopback})
	two := server.do(order{Op: "listen", Addr: loopback})
	p := link(client, server, one)
	server.do(order{Op: "reset", FD: p.serverFD})
	server.do(order{Op: "close", FD: p.serverFD})
	if r := client.try(order{Op: "read_end", FD: p.clientFD}); r.Errno != "ECONNRESET" {
		t.Fatalf("the client saw %q, want ECONNRESET", r.Error)
	}
	client.do(order{Op: "disconnect", FD: p.clientFD})
	again := client.do(order{Op: "connect", FD: p.clientFD, Addr: two.Local})
	fd := server.do(order{Op: "accept", FD: two.FD}).FD
	client.do(order{Op: "close", FD: p.clientFD})
	server.do(order{Op: "read_end", FD: fd})
	server.do(order{Op: "close", FD: fd})
	s.end()
	c := s.seen(p.local, p.peer)
	c.among(t, client)
	c.ended(t, event.CloserPeer, event.MethodRst)
	c = s.seen(again.Local, again.Peer)
	c.among(t, client)
	c.exactly(t, event.Established, event.FinWait1, client, event.MethodClose)
	c.ended(t, event.CloserLocal, event.MethodClose)
	for _, row := range c.rows {
		if row.Existed || row.Errno != 0 {
			t.Errorf("%v → %v: existed %v, errno %d", row.Old, row.New, row.Existed, row.Errno)
		}
	}
	if len(s.rig.releases) != 0 {
		t.Errorf("releases: %+v; the socket was connected again before it was closed", s.rig.releases)
	}
}

// TestSocketConnectsAfterTimeWait: a socket is used again while its first connection is in TIME_WAIT.
func TestSocketConnectsAfterTimeWait(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	s.trace()
	one := server.do(order{Op: "listen", Addr: loopback})
	two := server.do(order{Op: "listen", Addr: loopback})
	p := link(client, server, one)
	client.do(order{Op: "shutdown", FD: p.clientFD})
	server.do(order{Op: "read_end", FD: p.serverFD})
	server.do(order{Op: "close", FD: p.serverFD})
	client.do(order{Op: "read_end", FD: p.clientFD})
	client.do(order{Op: "disconnect", FD: p.clientFD})
	again := client.do(order{Op: "connect", FD: p.clientFD, Addr: two.Local})
	fd := server.do(order{Op: "accept", FD: two.FD}).FD
	server.do(order{Op: "close", FD: fd})
	client.do(order{Op: "read_end", FD: p.clientFD})
	client.do(order{Op: "close", FD: p.clientFD})
	s.end()
	c := s.seen(p.local, p.peer)
	c.among(t, client)
	c.step(t, event.FinWait2, event.TimeWait)
	c.ended(t, event.CloserLocal, event.MethodShutdown)
	c = s.seen(again.Local, again.Peer)
	c.among(t, client)
	c.ended(t, event.CloserPeer, event.MethodFin)
	c.exactly(t, event.CloseWait, event.LastAck, client, event.MethodClose)
	if n := s.rig.flow.Stats().TimeWaits; n != 2 {
		t.Errorf("%d mini-sockets alive, want 2", n)
	}
}
