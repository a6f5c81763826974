// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/ports"
	"finwait/tracer/workload"
)

// purse is a namespace with few local ports, and connections in it that the test itself makes.
type purse struct {
	t   *testing.T
	lab *workload.Lab
	fds []int
}

const purseRange = "40000 40019"

// newPurse has the ports of purseRange, without 40005.
func newPurse(t *testing.T) *purse {
	t.Helper()
	lab, _ := newLab(t, workload.Options{})
	p := &purse{t: t, lab: lab}
	t.Cleanup(func() {
		for _, fd := range p.fds {
			unix.Close(fd)
		}
	})
	p.sysctl("ip_local_port_range", purseRange)
	p.sysctl("ip_local_reserved_ports", "40005")
	p.sysctl("tcp_tw_reuse", "0")
	return p
}

func (p *purse) sysctl(name, value string) {
	p.t.Helper()
	if err := p.lab.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0) }); err != nil {
		p.t.Fatal(err)
	}
}

// do runs f in the namespace; what it returns is a descriptor to close in the end.
func (p *purse) do(f func() (int, error)) int {
	p.t.Helper()
	fd := -1
	err := p.lab.Do(func() (err error) {
		fd, err = f()
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.fds = append(p.fds, fd)
	return fd
}

// port is a socket's own.
func (p *purse) port(fd int) int {
	p.t.Helper()
	name, err := unix.Getsockname(fd)
	if err != nil {
		p.t.Fatal(err)
	}
	return name.(*unix.SockaddrInet4).Port
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func socketFor(a netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if !a.Addr().Is4() {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// bind makes a socket with a port of its own, and listens if backlog is not negative.
func (p *purse) bind(addr string, backlog int) int {
	p.t.Helper()
	a := netip.MustParseAddrPort(addr)
	return p.do(func() (int, error) {
		fd, err := socketFor(a)
		if err == nil {
			err = unix.Bind(fd, sockaddr(a))
		}
		if err == nil && backlog >= 0 {
			err = unix.Listen(fd, backlog)
		}
		return fd, err
	})
}

// dial is connect(), as it is.
func (p *purse) dial(addr string) (fd int, err error) {
	a := netip.MustParseAddrPort(addr)
	_ = p.lab.Do(func() error {
		if fd, err = socketFor(a); err == nil {
			p.fds = append(p.fds, fd)
			err = unix.Connect(fd, sockaddr(a))
		}
		return nil
	})
	return fd, err
}

// connect makes a whole connection.
func (p *purse) connect(addr string, listener int) (client, server int) {
	p.t.Helper()
	client, err := p.dial(addr)
	if err != nil {
		p.t.Fatalf("connect to %s: %v", addr, err)
	}
	return client, p.do(func() (int, error) {
		fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		return fd, err
	})
}

func (p *purse) close(fd int) {
	p.t.Helper()
	i := slices.Index(p.fds, fd)
	p.fds = slices.Delete(p.fds, i, i+1)
	if err := unix.Close(fd); err != nil {
		p.t.Fatal(err)
	}
}

// timeWait makes n connections that end in TIME_WAIT on the connecting side.
func (p *purse) timeWait(n int, addr string, listener int) {
	p.t.Helper()
	for range n {
		client, server := p.connect(addr, listener)
		p.close(client)
		if err := readToEnd(server); err != nil {
			p.t.Fatal(err)
		}
		p.close(server)
	}
}

// states counts what /proc/net/tcp shows of connections to a peer: the truth of another program.
func (p *purse) states(peer string) map[string]int {
	p.t.Helper()
	a := netip.MustParseAddrPort(peer)
	ip := a.Addr().As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], a.Port())
	counts := map[string]int{}
	err := p.lab.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/tcp")
		scan := bufio.NewScanner(bytes.NewReader(text))
		for scan.Scan() {
			// 0: 0100007F:9C40 0100007F:1F90 06 …
			field := strings.Fields(scan.Text())
			var state event.State
			if len(field) > 3 && field[2] == want {
				fmt.Sscanf(field[3], "%X", &state)
				counts[state.String()]++
			}
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return counts
}

// awaitStates waits until the kernel has come to these.
func (p *purse) awaitStates(peer string, want map[string]int) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.Now().Add(30 * time.Second)
	for {
		got := p.states(peer)
		if cmp.Equal(got, want) {
			return
		}
		if time.Now().After(limit) {
			p.t.Fatalf("/proc/net/tcp shows %v to %s, want %v", got, peer, want)
		}
		<-tick.C
	}
}

// budgetLine is a budget record.
type budgetLine struct {
	Type  string
	Local struct{ Address netip.Addr }
	Peer  struct {
		Address netip.Addr
		Port    uint16
	}
	Range struct {
		First, Last     uint16
		Reserved, Ports int
	}
	Used, Bound, Left, Reusable, Outside, Shared int
	States                                       map[string]int
	Owners                                       []struct {
		Process     processRecord
		Connections int
	}
	HeldByNobody int `json:"held_by_nobody"`
	Reuse        struct {
		Setting    string `json:"tcp_tw_reuse"`
		Applies    bool
		Timestamps int `json:"time_waits_with_timestamps"`
	}
	Rate struct {
		Taken, Returned int
		FailsIn         *time.Duration `json:"fails_in_ns"`
	}
}

// budgets runs finwait budget in the namespace, by peer.
func (p *purse) budgets(args ...string) map[string]budgetLine {
	p.t.Helper()
	run := newProgram(p.t, append([]string{"budget", "-o", "json", "--netns", inode(p.lab)}, args...)...).start().exits(exitDone)
	found := map[string]budgetLine{}
	for text := range strings.Lines(run.out.String()) {
		var b budgetLine
		if err := json.Unmarshal([]byte(text), &b); err != nil || b.Type != "budget" {
			p.t.Fatalf("%v: %s", err, text)
		}
		peer := netip.AddrPortFrom(b.Peer.Address, b.Peer.Port).String()
		if _, twice := found[peer]; twice {
			p.t.Errorf("two budgets to %s:\n%s", peer, run.out.String())
		}
		found[peer] = b
	}
	return found
}

// spend connects until there is no port left, and returns how many it could.
func (p *purse) spend(addr string, listener int) (n int) {
	p.t.Helper()
	for {
		fd, err := p.dial(addr)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return n
		}
		if err != nil {
			p.t.Fatal(err)
		}
		n++
		p.do(func() (int, error) {
			fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
			return fd, err
		})
		_ = fd
	}
}

const web, inRange = "127.0.0.1:8090", "127.0.0.1:40003"

// TestFeatureBudget makes connections in every state: the figures are those that were made, those that
// /proc/net/tcp shows, and what is left is what connect() then gets, to the last port.
func TestFeatureBudget(t *testing.T) {
	p := newPurse(t)
	listener := p.bind(web, 100)
	inside := p.bind(inRange, 0) // a server inside the range, with a backlog of 0
	p.bind("127.0.0.2:40007", -1)
	p.bind("127.0.0.1:39999", -1) // is not of the range

	for range 3 {
		p.connect(web, listener)
	}
	p.timeWait(4, web, listener)
	for range 2 { // CLOSE_WAIT here: the server closes, nobody else does
		_, server := p.connect(web, listener)
		p.close(server)
	}
	client, _ := p.connect(web, listener) // FIN_WAIT2, without a descriptor: a mini-socket
	p.close(client)
	client, _ = p.connect(web, listener) // FIN_WAIT2 with one
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	p.connect(inRange, inside)
	states := map[string]int{"ESTABLISHED": 3, "TIME_WAIT": 4, "CLOSE_WAIT": 2, "FIN_WAIT2": 2}
	p.awaitStates(web, states)

	all := p.budgets("--interval", "0")
	if len(all) != 2 {
		t.Errorf("budgets to %v, want to %s and %s", all, web, inRange)
	}
	b := all[web]
	if diff := cmp.Diff(b.States, states); diff != "" {
		t.Errorf("states (-is +want):\n%s", diff)
	}
	if r := b.Range; r.First != 40000 || r.Last != 40019 || r.Reserved != 1 || r.Ports != 19 {
		t.Errorf("range %+v", r)
	}
	if b.Used != 11 || b.Bound != 2 || b.Left != 6 || b.Reusable != 0 || b.Outside != 0 {
		t.Errorf("%d used, %d bound, %d left, %d reusable, %d outside", b.Used, b.Bound, b.Left, b.Reusable, b.Outside)
	}
	// Six connections have a descriptor: of this process.
	if len(b.Owners) != 1 || b.Owners[0].Process.PID != os.Getpid() || b.Owners[0].Connections != 6 || b.HeldByNobody != 0 {
		t.Errorf("held by %+v, %d by nobody", b.Owners, b.HeldByNobody)
	}
	if b.Reuse.Setting != "0" || b.Reuse.Applies || b.Reuse.Timestamps != 4 {
		t.Errorf("reuse %+v", b.Reuse)
	}
	if b := all[inRange]; b.Used != 1 || b.Bound != 2 || b.Left != 16 || !cmp.Equal(b.States, map[string]int{"ESTABLISHED": 1}) {
		t.Errorf("to the server inside the range: %+v", b)
	}

	if n := p.spend(web, listener); n != b.Left {
		t.Errorf("connect() got %d ports, %d were left", n, b.Left)
	}
	all = p.budgets("-D", "8090", "--interval", "50ms")
	b = all[web]
	if len(all) != 1 || b.Left != 0 || b.Used != 17 || b.Rate.FailsIn == nil || *b.Rate.FailsIn != 0 {
		t.Errorf("exhausted: %+v", all)
	}
	if n := p.spend(inRange, inside); n != 16 {
		t.Errorf("connect() got %d ports to another peer, 16 were left", n)
	}
	run := newProgram(t, "budget", "--netns", inode(p.lab), "-D", "8090", "-i", "50ms").start().exits(exitDone)
	for _, want := range []string{"EXHAUSTED", "now", fmt.Sprintf("[%d] 12", os.Getpid()), "2 bound by bind() or listen()", "tcp_tw_reuse is 0 (off); 4 of 4"} {
		if !strings.Contains(run.out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, run.out.String())
		}
	}
}

// TestFeatureBudgetReuse: what tcp_tw_reuse lets connect() take over is left, and nothing else.
func TestFeatureBudgetReuse(t *testing.T) {
	p := newPurse(t)
	listener := p.bind(web, 100)
	p.sysctl("tcp_timestamps", "0")
	p.timeWait(3, web, listener) // never
	p.sysctl("tcp_timestamps", "1")
	p.timeWait(5, web, listener)
	p.awaitStates(web, map[string]int{"TIME_WAIT": 8})
	if b := p.budgets("-i", "0")[web]; b.Left != 11 || b.Reusable != 0 || b.Reuse.Applies || b.Reuse.Timestamps != 5 {
		t.Errorf("off: %+v", b)
	}
	p.sysctl("tcp_tw_reuse", "2") // loopback, which it is
	var b budgetLine
	for limit := time.Now().Add(30 * time.Second); b.Reusable < 5 && time.Now().Before(limit); {
		b = p.budgets("-i", "0")[web]
	}
	if b.Left != 16 || b.Reusable != 5 || !b.Reuse.Applies || b.Used != 8 {
		t.Errorf("on: %+v", b)
	}
	if n := p.spend(web, listener); n != b.Left {
		t.Errorf("connect() got %d ports, %d were left", n, b.Left)
	}
}

// TestFeatureBudgetRate: between two looks, what came, what went, and what came and went. A
// connection that has the port of one that went is another one.
func TestFeatureBudgetRate(t *testing.T) {
	p := newPurse(t)
	listener := p.bind(web, 100)
	reset := func(fd int) {
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			t.Fatal(err)
		}
		p.close(fd)
	}
	first, _ := p.connect(web, listener)
	second, _ := p.connect(web, listener)
	p.timeWait(2, web, listener)
	l, err := tracer.OpenLister("")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	look := func() *event.Look {
		now, err := l.Look(p.lab.NetNS())
		if err != nil || len(now.Errs) > 0 {
			t.Fatal(err, now.Errs)
		}
		return now
	}
	before := look()
	port := p.port(first)
	reset(first)    // goes
	p.close(second) // another state
	p.sysctl("ip_local_port_range", fmt.Sprintf("%d %d", port, port))
	p.connect(web, listener) // comes, on the port of the one that has gone
	p.sysctl("ip_local_port_range", purseRange)
	for range 2 { // come
		p.connect(web, listener)
	}
	p.timeWait(1, web, listener) // comes, and is in TIME_WAIT already
	brief, _ := p.connect(web, listener)
	reset(brief) // comes and goes
	p.awaitStates(web, map[string]int{"ESTABLISHED": 3, "TIME_WAIT": 3, "FIN_WAIT2": 1})
	list, opens := ports.Budgets(before, look())
	if len(list) != 1 || list[0].Taken != 4 || list[0].Returned != 1 {
		t.Errorf("%+v", list)
	}
	want := []event.Opens{{NetNS: p.lab.NetNS(), Counted: 5, Found: 4}}
	if diff := cmp.Diff(opens, want); diff != "" {
		t.Errorf("the kernel's count of connects (-is +want):\n%s", diff)
	}
}

// TestBudgetOwners: a connection that two processes hold is both's; the filter by process keeps the whole
// budget of whoever has a part in it.
func TestBudgetOwners(t *testing.T) {
	s := newStage(t)
	client, server := s.actor("client"), s.actor("server")
	listener := server.do(order{Op: "listen", Addr: loopback})
	link(client, server, listener)
	passed := link(client, server, listener)
	child := client.spawn("child", passed.clientFD)
	p := &purse{t: t, lab: s.lab}
	peer := listener.Local.String()
	for _, pid := range []int{client.pid, child.pid} {
		b := p.budgets("-i", "0", "-p", fmt.Sprint(pid))[peer]
		if len(b.Owners) != 2 || b.Owners[0].Process != (processRecord{client.pid, "client"}) || b.Owners[0].Connections != 2 ||
			b.Owners[1].Process != (processRecord{child.pid, "child"}) || b.Owners[1].Connections != 1 || b.Used != 2 {
			t.Errorf("--pid %d: %+v", pid, b)
		}
	}
	if all := p.budgets("-i", "0", "--pid", fmt.Sprint(server.pid)); len(all) != 0 {
		t.Errorf("the server has a budget: %+v", all)
	}
	if all := p.budgets("-i", "0", "--comm", "child", "--peer", "127.0.0.0/8", "--local", "127.0.0.1", "-4"); len(all) != 1 {
		t.Errorf("%d budgets, want 1", len(all))
	}
	for _, other := range [][]string{{"-6"}, {"--peer", "10.0.0.0/8"}, {"-D", "1"}, {"--local", "127.0.0.2"}, {"--comm", "server"}} {
		if all := p.budgets(append(other, "-i", "0")...); len(all) != 0 {
			t.Errorf("%v: %+v", other, all)
		}
	}
}

// TestBudgetFamilies: IPv6, and IPv4 through an IPv6 socket.
func TestBudgetFamilies(t *testing.T) {
	p := newPurse(t)
	six := p.bind("[::1]:8090", 10)
	four := p.bind(web, 10)
	p.connect("[::1]:8090", six)
	p.timeWait(1, "[::1]:8090", six)
	p.connect("[::ffff:127.0.0.1]:8090", four)
	all := p.budgets("-i", "0")
	if b := all["[::1]:8090"]; b.Used != 2 || b.States["ESTABLISHED"] != 1 || b.States["TIME_WAIT"] != 1 {
		t.Errorf("IPv6: %+v", b)
	}
	if b := all[web]; b.Used != 1 || b.States["ESTABLISHED"] != 1 || len(all) != 2 {
		t.Errorf("IPv4 in IPv6: %+v", all)
	}
}

// TestBudgetEnds: what cannot be done is said, with the right status.
func TestBudgetEnds(t *testing.T) {
	needsKernel(t)
	for _, args := range [][]string{{"-i", "1ms"}, {"-i", "-1s"}, {"-i", "0", "--watch"}, {"-o", "text"}, {"more"}, {"--netns", "/nowhere"}, {"-D", "0"}} {
		newProgram(t, append([]string{"budget"}, args...)...).start().exits(exitUsage)
	}
	newProgram(t, "budget").as().start().exits(exitPrivilege).says("CAP_BPF")
	newProgram(t, "budget", "--netns", "inode:1").start().exits(exitFailed).says("nobody can enter it")
}
