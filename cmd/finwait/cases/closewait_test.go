// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"finwait/tracer"
	"finwait/tracer/event"
)

// client has no timeouts, no limits, and the keep-alive of Go: probes after 15 seconds.
var client = &http.Client{Transport: &http.Transport{}}

func check(url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func checkAndClose(url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func init() {
	fetcher := func(check func(string) error) func() error {
		return func() error {
			for range 100 {
				if err := check(os.Args[1]); err != nil {
					return err
				}
			}
			fmt.Println("done")
			_, err := bufio.NewReader(os.Stdin).ReadByte() // goes on living
			return err
		}
	}
	clients["checker"] = fetcher(check)
	clients["checker-fixed"] = fetcher(checkAndClose)
}

// excerpt is a function of this directory's sources, as it is.
func excerpt(t *testing.T, file, function string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "func "+function+"(")
	body, _, ends := strings.Cut(rest, "\n}\n")
	if !ok || !ends {
		t.Fatalf("%s has no function %s", file, function)
	}
	return strings.ReplaceAll("func "+function+"("+body+"\n}\n", "\t", "    ")
}

// seenSocket is a record of `finwait sockets`.
type seenSocket struct {
	KTime   int64 `json:"ktime_ns"`
	Socket  struct{ Cookie string }
	AtLeast *time.Duration `json:"in_state_at_least_ns"`
	AtMost  *time.Duration `json:"in_state_at_most_ns"`
	Owners  []struct {
		Process struct {
			PID  int
			Comm string
		}
	}
}

func (h *host) seen(args string) (list []seenSocket) {
	h.t.Helper()
	for line := range strings.Lines(h.sh("finwait sockets -o json --netns /run/netns/" + h.netns() + " " + args).out) {
		var s seenSocket
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			h.t.Fatalf("%v: %s", err, line)
		}
		list = append(list, s)
	}
	return list
}

// TestCloseWaitLeak: a program does not close what its peer has closed. It is found while it happens, and
// what becomes of it when keep-alive gets an RST.
func TestCloseWaitLeak(t *testing.T) {
	needs(t, "nginx", "ss", "pgrep")
	t.Parallel() // it waits for the kernel's timers
	n := newNetwork(t)
	p := n.page("close-wait-leak")
	app := n.host("app")
	web := n.host("web", "tcp_fin_timeout=35")
	n.write("nginx.conf", "http {\n    access_log off;\n    keepalive_timeout 1s;\n    server {\n        listen 80;\n        location / { return 200 \"a page\\n\"; }\n    }\n}\n")
	nginx := web.nginx(80, "nginx.conf")
	n.client("checker")
	n.client("checker-fixed")
	netns := " --netns /run/netns/" + app.netns()
	const lists = "ss -Htn state close-wait dport = :80 | wc -l"

	rec := app.record("leak")
	checker := app.fetch("checker")
	await(t, "nginx to close its idle connections", func() bool { return strings.TrimSpace(app.sh(lists).out) == "100" })
	p.show("see", app.sh(lists))
	p.show("ss", app.sh("ss -Htnp state close-wait dport = :80 | head -1"))
	now := app.sh("finwait sockets --state CLOSE_WAIT" + netns)
	list := app.seen("--state CLOSE_WAIT")
	p.show("sockets", now)
	p.show("budget", app.sh("finwait budget -D 80"+netns), matching(`^LOCAL|^10`))
	p.show("peer", web.sh("finwait sockets --state FIN_WAIT2 --netns /run/netns/"+web.netns()))

	// Once more when it is old enough to be called a leak, and then the trace of it.
	older := app.sh("finwait sockets --state CLOSE_WAIT --older 31s --watch -i 32s -d 33s" + netns)
	if f := strings.Fields(older.out); strings.Count(older.out, "STATE") != 2 || len(f) < 2 || !strings.Contains(older.out, "CLOSE_WAIT    100 ") {
		t.Errorf("after 32 s:\n%s", older.out)
	}
	p.show("older", older)
	trace := rec.stop()
	fell := map[string]int64{}
	for i := range trace.rows {
		if r := &trace.rows[i]; r.New == event.CloseWait {
			fell[fmt.Sprint(r.Cookie)] = r.KTime
		}
	}
	app.agree("connections that came to CLOSE_WAIT", len(fell), 100)
	tick, err := tracer.Tick()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 100 {
		t.Errorf("%d sockets in CLOSE_WAIT, want 100", len(list))
	}
	for _, s := range list {
		if len(s.Owners) != 1 || s.Owners[0].Process.PID != checker.cmd.Process.Pid || s.Owners[0].Process.Comm != "checker" {
			t.Errorf("held by %+v, want checker[%d]", s.Owners, checker.cmd.Process.Pid)
		}
		at, traced := fell[s.Socket.Cookie]
		if !traced {
			continue // agree has judged that
		}
		// Nobody had sent anything since the FIN: the lower bound is the truth.
		is := time.Duration(s.KTime - at)
		if s.AtLeast == nil || s.AtMost == nil || *s.AtLeast < is-2*tick || *s.AtLeast > is+2*tick || *s.AtMost < is-2*tick {
			t.Errorf("in CLOSE_WAIT for %v: said %v to %v", is, s.AtLeast, s.AtMost)
		}
	}
	report := trace.report()
	p.show("report", report, found("close-wait-leak"))
	if f := finding(trace.added(), "close-wait-leak"); len(f) != 1 || !strings.Contains(f[0].Title, "checker does not close 100 connections") {
		t.Errorf("findings %+v", f)
	}

	// The peer has forgotten; the next keep-alive probe gets an RST.
	await(t, "keep-alive to end CLOSE_WAIT", func() bool { return len(app.seen("--state CLOSE_WAIT")) == 0 })
	p.show("reset", app.sh("ss -Htan dport = :80 | wc -l"))
	p.show("reset", app.sh("ls -l /proc/$(pgrep --ns $$ --nslist net -x checker)/fd | grep -c socket:"))
	p.show("reset", app.sh("finwait sockets"+netns))
	if dead := app.seen("--state CLOSE"); len(dead) != 100 || dead[0].Owners[0].Process.PID != checker.cmd.Process.Pid {
		t.Errorf("%d dead sockets, want 100", len(dead))
	}
	if count := app.sh("ss -Htan dport = :80 | wc -l").out; count != "0\n" {
		t.Errorf("ss shows %s", count)
	}
	checker.stop(15)

	fixed := app.fetch("checker-fixed")
	await(t, "nginx to close its idle connection", func() bool { return web.sockets(80, 0) == web.sockets(80, stateListen)+web.sockets(80, stateTimeWait) })
	after := app.sh("finwait sockets --state CLOSE_WAIT,CLOSE" + netns)
	if strings.Count(after.out, "\n") != 1 {
		t.Errorf("after the change:\n%s", after.out)
	}
	fixed.stop(15)
	nginx.quit()
	p.show("after", after)

	p.file("nginx", "nginx", n.read("nginx.conf"))
	p.file("leak", "go", excerpt(t, "closewait_test.go", "check"))
	p.file("fixed", "go", excerpt(t, "closewait_test.go", "checkAndClose"))
	p.finish()
}

// fetch starts a checker, and waits until it has checked.
func (h *host) fetch(name string) *server {
	h.t.Helper()
	cmd := h.command("./"+name, "http://10.0.0.2/")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { stdin.Close() })
	s := h.start(name, 0, cmd)
	s.await("it to have checked", func() bool { return strings.Contains(s.read(s.log), "done") })
	return s
}
