// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"finwait/tracer/event"
)

// What mixer does, each with connections of its own.
const (
	mixClosed = 100 // it closes first
	mixPeer   = 100 // the service does, then it closes
	mixReset  = 10  // it closes with SO_LINGER 0
	mixLeaked = 10  // the service closes, and it does not
)

func init() {
	clients["mixer"] = func() error {
		var leaked []net.Conn
		// The first one has a port that it can be told by; it is none of the range.
		first := net.Dialer{LocalAddr: &net.TCPAddr{Port: 20000}}
		part := func(text string, end func(net.Conn) error) error {
			conn, err := first.Dial("tcp", os.Args[1])
			if err != nil {
				return err
			}
			first.LocalAddr = nil
			if _, err := fmt.Fprintln(conn, text); err != nil {
				return err
			}
			if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
				return err
			}
			return end(conn)
		}
		closed := func(conn net.Conn) error { return conn.Close() }
		afterPeer := func(conn net.Conn) error {
			if _, err := io.Copy(io.Discard, conn); err != nil {
				return err
			}
			return conn.Close()
		}
		reset := func(conn net.Conn) error {
			if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
				return err
			}
			return conn.Close()
		}
		leak := func(conn net.Conn) error {
			leaked = append(leaked, conn)
			_, err := io.Copy(io.Discard, conn)
			return err
		}
		for _, p := range []struct {
			times int
			text  string
			end   func(net.Conn) error
		}{{mixClosed, "hello", closed}, {mixPeer, "goodbye", afterPeer}, {mixReset, "hello", reset}, {mixLeaked, "goodbye", leak}} {
			for range p.times {
				if err := part(p.text, p.end); err != nil {
					return err
				}
			}
		}
		fmt.Println("done")
		_, err := bufio.NewReader(os.Stdin).ReadByte()
		for _, conn := range leaked {
			conn.Close()
		}
		return err
	}
}

// watch starts a command that goes on until Ctrl-C, and writes a line at a time.
func (h *host) watch(line string) *server {
	h.t.Helper()
	name, _, _ := strings.Cut(line, " ")
	return h.start(name, 0, h.command(append([]string{"stdbuf", "-oL"}, strings.Fields(line)...)...))
}

// over ends such a command, and returns what it wrote.
func (s *server) over(line string) shown {
	s.t.Helper()
	s.stop(syscall.SIGINT)
	return shown{host: s.host, line: line, out: s.read(s.log)}
}

// lines counts those that a regular expression matches.
func (s shown) lines(pattern string) int {
	return len(regexp.MustCompile("(?m)"+pattern).FindAllString(s.out, -1))
}

// TestCommands runs the usual commands beside finwait, on the same connections: what each says of them.
func TestCommands(t *testing.T) {
	needs(t, "ss", "netstat", "nstat", "conntrack", "tcpstates", "tcplife", "iptables", "stdbuf")
	n := newNetwork(t)
	p := n.page("usual-commands")
	app := n.host("app")
	service := n.host("service")
	n.client("service")
	n.client("mixer")
	// conntrack sees what a rule needs it for.
	app.sh("iptables -A INPUT -m conntrack --ctstate INVALID -j DROP")
	s := service.start("service", 7373, service.command("./service", "7373"))

	const states, life, events = "tcpstates -D 7373", "tcplife -D 7373", "conntrack -E -p tcp"
	tcpstates, tcplife, conntrack := app.watch(states), app.watch(life), app.watch(events)
	const farLife = "tcplife -L 7373"
	far2 := service.watch(farLife)
	far2.await("its heading", func() bool { return strings.Contains(far2.read(far2.log), "LADDR") })
	tcpstates.await("its heading", func() bool { return strings.Contains(tcpstates.read(tcpstates.log), "OLDSTATE") })
	tcplife.await("its heading", func() bool { return strings.Contains(tcplife.read(tcplife.log), "LADDR") })
	conntrack.await("an event", func() bool {
		app.try("(: </dev/tcp/10.0.0.2/7374) 2>/dev/null") // refused
		return strings.Contains(conntrack.read(conntrack.log), "dport=7374")
	})
	rec := app.record("trace")
	began := app.snmp("ActiveOpens")

	cmd := app.command("./mixer", "10.0.0.2:7373")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	mixer := app.start("mixer", 0, cmd)
	mixer.await("it to be done", func() bool { return strings.Contains(mixer.read(mixer.log), "done") })
	const all = mixClosed + mixPeer + mixReset + mixLeaked
	await(t, "all sockets to have come to rest", func() bool {
		return app.sh("ss -Htan state fin-wait-1 state fin-wait-2 state last-ack state established dport = :7373 | wc -l").out == "0\n"
	})
	if opens := app.snmp("ActiveOpens") - began; opens != all {
		t.Errorf("%d connects, want %d", opens, all)
	}

	summary := app.sh("ss -s")
	byState := app.sh("ss -Htan dport = :7373 | awk '{print $1}' | sort | uniq -c")
	owners := app.sh("ss -Htanop dport = :7373 | sort -k1,1 -u")
	legacy := app.sh("netstat -tanp | awk '$5 ~ /:7373$/ {print $6, $7}' | sort | uniq -c")
	counted := app.sh("nstat -asz TcpExtTW TcpExtTCPAbortOnData TcpActiveOpens TcpEstabResets | awk '{print $1, $2}'")
	far := service.sh("ss -Htan sport = :7373 | awk '{print $1}' | sort | uniq -c")
	sockets := app.sh("finwait sockets --state CLOSE_WAIT --netns /run/netns/" + app.netns())
	entries := app.sh("conntrack -L -p tcp --dport 7373 --state TIME_WAIT 2>/dev/null | wc -l")
	trace := rec.stop()
	conntrack.await("its events of the first connection", func() bool {
		return shown{out: conntrack.read(conntrack.log)}.lines(`1\d\d TIME_WAIT .*sport=20000 dport=7373 `) > 0
	})
	tracked := conntrack.over(events)
	stated := tcpstates.over(states)
	lived := tcplife.over(life)
	livedFar := far2.over(farLife)
	tracked.out = strings.Join(matchedLines(tracked.out, "dport=7373"), "\n")
	mixer.stop(syscall.SIGTERM)
	s.stop(syscall.SIGTERM)

	// ss and netstat.
	holds := func(s shown, pattern string) {
		t.Helper()
		if s.lines(pattern) != 1 {
			t.Errorf("%s does not say %q once:\n%s", s.line, pattern, s.out)
		}
	}
	pid := strconv.Itoa(mixer.cmd.Process.Pid)
	holds(byState, `^ *100 TIME-WAIT$`)
	holds(byState, `^ *10 CLOSE-WAIT$`)
	holds(far, `^ *100 TIME-WAIT$`)
	holds(owners, `^CLOSE-WAIT.*"mixer",pid=`+pid+`\b`)
	holds(owners, `^TIME-WAIT.*timer:\(timewait,`)
	holds(legacy, `^ *10 CLOSE_WAIT `+pid+`/`)
	holds(legacy, `^ *100 TIME_WAIT -$`)
	if owners.lines(`TIME-WAIT.*users:`) > 0 {
		t.Errorf("ss names the process of a TIME_WAIT:\n%s", owners.out)
	}
	holds(summary, `timewait 100`)
	// nstat.
	holds(counted, `^TcpExtTW 100$`)
	holds(counted, `^TcpExtTCPAbortOnData 10$`)
	// conntrack: one TIME_WAIT for a connection, whichever end it is at, for two minutes.
	conntracked, err := strconv.Atoi(strings.TrimSpace(entries.out))
	if err != nil || conntracked != mixClosed+mixPeer {
		t.Errorf("conntrack lists %s connections in TIME_WAIT, want %d", entries.out, mixClosed+mixPeer)
	}
	// Events can be lost on their way to it: it is asked for most of them.
	if events := tracked.lines(`^ *\[UPDATE\] tcp +6 1\d\d TIME_WAIT`); events > conntracked || events < conntracked/2 {
		t.Errorf("conntrack shows %d connections that come to TIME_WAIT, of %d", events, conntracked)
	}
	if n := tracked.lines(`mixer|pid`); n > 0 {
		t.Errorf("conntrack names a process")
	}
	// tcpstates: never TIME_WAIT; the verdict is there; and whoever is running.
	if n := stated.lines(`TIME_WAIT`); n > 0 {
		t.Errorf("tcpstates shows TIME_WAIT:\n%s", stated.out)
	}
	app.agree("closed first by this end, by tcpstates", stated.lines(`ESTABLISHED -> FIN_WAIT1`), mixClosed)
	app.agree("closed first by the peer, by tcpstates", stated.lines(`ESTABLISHED -> CLOSE_WAIT`), mixPeer+mixLeaked)
	rows, ours := stated.lines(`->`)-1, stated.lines(`^\S+ +`+pid+` +mixer .*->`) // less the heading
	lifeRows, lifeOurs := lived.lines(`10\.0\.0\.2 +7373`), lived.lines(`^`+pid+` +mixer .*10\.0\.0\.2 +7373`)
	farRows, farOurs := livedFar.lines(`10\.0\.0\.2 +7373`), livedFar.lines(`^\d+ +service .*10\.0\.0\.2 +7373`)
	if farRows-farOurs < mixPeer/2 || rows-ours < mixClosed || lifeOurs < lifeRows*9/10 {
		t.Errorf("another program is named in %d of %d lines of tcplife, %d of %d at the other end, and in %d of %d of tcpstates", lifeRows-lifeOurs, lifeRows,
			farRows-farOurs, farRows, rows-ours, rows)
	}
	if rows < 4*all || lifeRows < mixClosed+mixPeer {
		t.Errorf("tcpstates shows %d rows, tcplife %d", rows, lifeRows)
	}
	// finwait.
	app.agree("TIME_WAITs", trace.timeWaits(), mixClosed)
	verdict := func(closer event.Closer, method event.Method) int {
		return len(trace.first(func(r *event.Transition) bool { return r.Closer == closer && r.Method == method }))
	}
	app.agree("closed first by this end", verdict(event.CloserLocal, event.MethodClose), mixClosed)
	app.agree("SO_LINGER 0", verdict(event.CloserLocal, event.MethodLinger0), mixReset)
	app.agree("closed first by the peer", verdict(event.CloserPeer, event.MethodFin), mixPeer+mixLeaked)
	wrong := trace.count(func(r *event.Transition) bool { return r.Process.Known() && r.Process.Comm.String() != "mixer" })
	named := trace.count(func(r *event.Transition) bool { return r.Process.Comm.String() == "mixer" })
	if wrong > 0 || named < len(trace.rows)*9/10 {
		t.Errorf("of %d rows, %d are put down to mixer and %d to others", len(trace.rows), named, wrong)
	}
	holds(sockets, `^CLOSE_WAIT +10 .*mixer\[`+pid+`\]$`)

	p.show("table", byState)
	p.show("table", owners, matching(`^(TIME|CLOSE)-WAIT`))
	p.show("table", legacy)
	p.show("far", far)
	p.show("counters", counted)
	p.show("conntrack", app.begun(events, conntrack))
	p.show("conntrack", app.sh("grep sport=20000 app-conntrack.out | grep -e NEW -e ' FIN_WAIT' -e TIME_WAIT"))
	p.show("conntrack", entries)
	p.show("tcpstates", app.begun(states, tcpstates))
	p.show("tcpstates", app.sh("grep ' 20000 ' app-tcpstates.out | awk '{print $8, $9, $10, $11}'"))
	p.show("running", app.sh(`awk '$8 == "FIN_WAIT2" {print $3}' app-tcpstates.out | sort | uniq -c | sort -rn | head -1`))
	p.show("tcplife", app.begun(life, tcplife))
	p.show("tcplife", app.sh("grep -e LADDR -e ' 20000 ' app-tcplife.out"))
	p.show("finwait", trace.recorded())
	p.show("finwait", app.sh("finwait replay trace.jsonl.zst -L 20000"))
	p.show("sockets", sockets)
	p.figure("closed", mixClosed)
	p.figure("peer", mixPeer)
	p.figure("reset", mixReset)
	p.figure("leaked", mixLeaked)
	p.figure("conntracked", conntracked)
	p.figure("rows", rows)
	p.figure("others", rows-ours)
	p.figure("lifeRows", lifeRows)
	p.figure("lifeOthers", lifeRows-lifeOurs)
	p.figure("farRows", farRows)
	p.figure("farOthers", farRows-farOurs)
	p.figure("named", fmt.Sprintf("%d of %d", named, len(trace.rows)))
	p.finish()
}

// begun is a command that writes to the file that it was started with.
func (h *host) begun(line string, s *server) shown {
	return shown{host: h, line: line + " >" + s.log}
}

func matchedLines(text, part string) (list []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			list = append(list, strings.TrimSuffix(line, "\n"))
		}
	}
	return list
}
