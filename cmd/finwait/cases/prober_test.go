// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"finwait/tracer/event"
)

func probe(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	return ask(conn)
}

func probeAndReset(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ask(conn); err != nil {
		return err // an ordinary close: something may be under way
	}
	return conn.(*net.TCPConn).SetLinger(0)
}

// ask is the check: one line there, one line back.
func ask(conn net.Conn) error {
	if _, err := fmt.Fprintln(conn, "are you there?"); err != nil {
		return err
	}
	_, err := bufio.NewReader(conn).ReadString('\n')
	return err
}

func init() {
	prober := func(probe func(string) error) func() error {
		return func() error {
			n, err := strconv.Atoi(os.Args[2])
			if err != nil {
				return err
			}
			failed := map[string]int{}
			// As fast as a thousand a second.
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			for range n {
				if err := probe(os.Args[1]); err != nil {
					var errno syscall.Errno
					errors.As(err, &errno)
					failed[errno.Error()]++
				}
				<-pace.C
			}
			fmt.Printf("%d probes, %d good\n", n, n-failed[syscall.EADDRNOTAVAIL.Error()])
			for why, times := range failed {
				fmt.Printf("%d failed: %s\n", times, why)
			}
			return nil
		}
	}
	clients["prober"] = prober(probe)
	clients["prober-linger"] = prober(probeAndReset)
	clients["service"] = serve
}

// serve answers each line, until its peer is gone or says goodbye, and says in the end how the
// connections have ended.
func serve() error {
	port := "7000"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	l, err := net.Listen("tcp4", ":"+port)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		l.Close()
	}()
	var served sync.WaitGroup
	var mu sync.Mutex
	ends := map[string]int{}
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		served.Add(1)
		go func() {
			defer served.Done()
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				fmt.Fprintln(conn, "yes")
				if lines.Text() == "goodbye" {
					break // the service closes first
				}
			}
			end := "end of file"
			var errno syscall.Errno
			if errors.As(lines.Err(), &errno) {
				end = errno.Error()
			}
			mu.Lock()
			ends[end]++
			mu.Unlock()
		}()
	}
	served.Wait()
	for _, end := range []string{"end of file", syscall.ECONNRESET.Error()} {
		fmt.Printf("%d connections ended with: %s\n", ends[end], end)
	}
	return nil
}

// probing is one run of a prober, and what everybody counted.
type probing struct {
	failed                  int // connects
	timeWaits, reused       int // by the trace
	resets                  int // by the trace of the service's host
	serviceResets           int // by the service
	kernelResets            int // by the kernel of the service's host
	born, recycled, aborted int // by the kernel of the prober's host
	shown, budget, service  shown
	trace                   *trace
}

// TestProber: a program that opens and closes a connection for each check, in four ways.
func TestProber(t *testing.T) {
	needs(t, "ss")
	n := newNetwork(t)
	p := n.page("prober")
	prober := n.host("prober")
	service := n.host("service")
	for _, name := range []string{"prober", "prober-linger", "service"} {
		n.client(name)
	}
	const probes, ports = 3000, 2000
	run := func(name, program string, first int, settings ...string) probing {
		t.Helper()
		// Ports of its own for each run: the TIME_WAITs of the last one are still there.
		prober.sysctl(fmt.Sprintf("ip_local_port_range=%d %d", first, first+ports-1))
		for _, s := range settings {
			prober.sysctl(s)
		}
		var r probing
		s := service.start("service", 7000, service.command("./service"))
		here, there := prober.record(name), service.record(name+"-service")
		r.born, r.recycled, r.aborted = -prober.counter("TW"), -prober.counter("TWRecycled"), -prober.counter("TCPAbortOnData")
		r.kernelResets = -service.snmp("EstabResets")
		r.shown = prober.sh(fmt.Sprintf("./%s 10.0.0.2:7000 %d", program, probes))
		service.idle(7000)
		r.budget = prober.sh("finwait budget -D 7000 -i 0 --netns /run/netns/" + prober.netns())
		r.born += prober.counter("TW")
		r.recycled += prober.counter("TWRecycled")
		r.aborted += prober.counter("TCPAbortOnData")
		r.kernelResets += service.snmp("EstabResets")
		r.trace = here.stop()
		beyond := there.stop()
		s.stop(syscall.SIGTERM)
		r.service = shown{host: service, line: "cat service.log", out: n.read(s.log)}
		fmt.Sscanf(field(r.service.out, 1), "%d", &r.serviceResets)
		r.failed = len(r.trace.failures)
		r.timeWaits, r.reused = r.trace.timeWaits(), r.trace.reused()
		r.resets = len(beyond.first(func(row *event.Transition) bool { return row.Method == event.MethodRst }))
		prober.agree(name+": TIME_WAITs, by the kernel", r.timeWaits, r.born)
		prober.agree(name+": taken over by connect(), by the kernel", r.reused, r.recycled)
		service.agree(name+": RSTs, by the service", r.resets, r.serviceResets)
		service.agree(name+": RSTs, by the service's kernel", r.resets, r.kernelResets)
		said, _ := strconv.Atoi(strings.Fields(field(r.shown.out, 1) + " 0")[0])
		// Go's Dial tries three times before it gives up.
		prober.agree(name+": connects without a port, by the prober", r.failed, 3*said)
		if bad := finding(r.trace.added(), "ports-exhausted"); (len(bad) > 0) != (r.failed > 0) {
			t.Errorf("%s: %d connects failed, and the findings are %+v", name, r.failed, bad)
		}
		return r
	}

	plain := run("plain", "prober", 40000)
	reuse := run("reuse", "prober", 42000, "tcp_tw_reuse=1")
	service.sysctl("tcp_timestamps=0")
	blunt := run("blunt", "prober", 44000)
	service.sysctl("tcp_timestamps=1")
	linger := run("linger", "prober-linger", 46000, "tcp_tw_reuse=2")

	for _, tt := range []struct {
		name                               string
		got                                probing
		failed, timeWaits, reused, aborted int
	}{
		{"plain", plain, 3 * (probes - ports), ports, 0, 0},
		{"without timestamps", blunt, 3 * (probes - ports), ports, 0, 0},
		{"SO_LINGER 0", linger, 0, 0, 0, probes},
	} {
		if g := tt.got; g.born != tt.timeWaits || g.recycled != tt.reused || g.aborted != tt.aborted || g.serviceResets != tt.aborted {
			t.Errorf("%s: %d failed, %d TIME_WAITs, %d taken over, %d aborted, %d reset; want %d, %d, %d, %d", tt.name, g.failed, g.born, g.recycled, g.aborted, g.serviceResets, tt.failed, tt.timeWaits, tt.reused, tt.aborted)
		}
	}
	// Each probe without a failure; how many ports it takes depends on the machine's speed: one second's worth.
	if reuse.failed != 0 || reuse.born != probes || reuse.recycled < probes-ports || reuse.serviceResets != 0 {
		t.Errorf("tcp_tw_reuse=1: %d failed, %d TIME_WAITs, %d taken over, %d reset", reuse.failed, reuse.born, reuse.recycled, reuse.serviceResets)
	}

	p.file("probe", "go", excerpt(t, "prober_test.go", "probe"))
	p.file("linger", "go", excerpt(t, "prober_test.go", "probeAndReset"))
	p.show("plain", plain.shown)
	p.show("plain", plain.budget)
	p.show("finding", plain.trace.report(), section("Who closed first?", "PROCESS|prober"), found("ports-exhausted"))
	p.show("reuse", shown{host: prober, line: "sysctl -w net.ipv4.tcp_tw_reuse=1"})
	p.show("reuse", reuse.shown)
	p.show("reuse", reuse.budget, matching(`^LOCAL|^10| used`))
	p.show("blunt", shown{host: service, line: "sysctl -w net.ipv4.tcp_timestamps=0"})
	p.show("blunt", blunt.shown)
	p.show("blunt", blunt.budget)
	p.show("after", linger.shown)
	p.show("after", linger.budget)
	p.show("after", linger.service)
	for name, r := range map[string]probing{"plain": plain, "reuse": reuse, "blunt": blunt, "linger": linger} {
		p.figure(name+"Failed", r.failed)
		p.figure(name+"TimeWaits", r.timeWaits)
		p.figure(name+"Reused", r.reused)
		p.figure(name+"Resets", r.resets)
	}
	p.finish()
}

// field is a line of a text, by number; empty where there is none.
func field(text string, line int) string {
	if lines := strings.Split(text, "\n"); line < len(lines) {
		return lines[line]
	}
	return ""
}
