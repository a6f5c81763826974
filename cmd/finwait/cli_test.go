// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/workload"
)

// runs makes closes of these kinds.
func runs(t *testing.T, s *stage, kinds ...workload.Kind) (closes []workload.Close) {
	t.Helper()
	for _, k := range kinds {
		ledger, err := s.lab.Run(s.ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		closes = append(closes, ledger.Closes...)
	}
	return closes
}

var totalsLine = regexp.MustCompile(`\w: \d+ transitions, \d+ .*closed`)

// hasTotals fails unless stderr ends with the totals.
func (p *program) hasTotals(lost bool) {
	p.t.Helper()
	lines := strings.Split(strings.TrimSpace(p.err.String()), "\n")
	last := lines[len(lines)-1]
	want := "nothing was lost"
	if lost {
		want = "LOST"
	}
	if !totalsLine.MatchString(last) || !strings.Contains(last, want) {
		p.t.Errorf("no totals with %q at the end of:\n%s", want, p.err.String())
	}
}

func TestProgramCount(t *testing.T) {
	s := newStage(t)
	for _, view := range []string{"transitions", "closes"} {
		p := newProgram(t, "-c", "3", "--netns", inode(s.lab), "--view", view).live().start()
		runs(t, s, workload.ClientFirst, workload.Linger0, workload.Linger0Server)
		p.exits(exitDone).hasTotals(false)
		lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
		if len(lines) != 4 || !strings.HasPrefix(lines[0], "TIME ") {
			t.Errorf("%s: want a heading and three rows:\n%s", view, p.out.String())
		}
	}
}

func TestProgramDuration(t *testing.T) {
	needsKernel(t)
	p := newProgram(t, "-d", "300ms", "-o", "json").live().start().exits(exitDone)
	p.hasTotals(false)
	if _, end := p.whole(); end.Elapsed < 300*time.Millisecond {
		t.Errorf("ended after %v, want at least 300ms", end.Elapsed)
	}
}

// TestProgramSignals: an end by signal is an orderly one. All that happened before is out.
func TestProgramSignals(t *testing.T) {
	s := newStage(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).live().start()
		closes := runs(t, s, workload.ServerFirst, workload.Refused, workload.Linger0)
		p.signal(sig).exits(exitDone).hasTotals(false)
		rows, end := p.whole()
		transitions := of("transition", rows)
		if n := uint64(len(transitions)); n != end.Totals["transitions"] || !end.Complete {
			t.Errorf("%v: %d transitions; trace_end says %+v", sig, n, end)
		}
		if n := len(of("connect_error", rows)); n != 1 || end.Totals["connect_errors"] != 1 {
			t.Errorf("%v: %d connect errors, want 1", sig, n)
		}
		for _, c := range closes {
			for _, side := range []*workload.Side{c.Client, c.Server} {
				if side == nil || c.ConnectError != "" {
					continue
				}
				last := "CLOSE"
				if side.TimeWait {
					last = "TIME_WAIT"
				}
				i := slices.IndexFunc(transitions, func(r line) bool {
					return r.addresses() == ends{side.Local, side.Peer} && r.NewState == last
				})
				if i < 0 {
					t.Errorf("%v: %s: no row says that %v has come to %s", sig, c.Kind, side.Local, last)
				} else if r := transitions[i]; r.Closer != side.Closer || r.Method != side.Method {
					t.Errorf("%v: %s: closed by %s, %s; want %s, %s", sig, c.Kind, r.Closer, r.Method, side.Closer, side.Method)
				}
			}
		}
		if !slices.IsSortedFunc(transitions, func(a, b line) int { return int(a.KTime - b.KTime) }) {
			t.Errorf("%v: the rows are not in the order of time", sig)
		}
	}
}

// TestProgramReaderGone: whoever read the output closes it, as head(1) does.
func TestProgramReaderGone(t *testing.T) {
	s := newStage(t)
	t.Run("after a line", func(t *testing.T) {
		r, w := pipe(t)
		p := newProgram(t, "--netns", inode(s.lab)).live()
		p.cmd.Stdout = w
		p.start()
		w.Close()
		runs(t, s, workload.ClientFirst)
		if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || !strings.HasPrefix(line, "TIME ") {
			t.Errorf("%q, %v; want the heading", line, err)
		}
		r.Close()
		runs(t, s, workload.ClientFirst)
		p.exits(exitDone).hasTotals(false)
	})
	t.Run("while there is nothing to write", func(t *testing.T) {
		r, w := pipe(t)
		p := newProgram(t, "--netns", inode(s.lab)).live()
		p.cmd.Stdout = w
		p.start()
		w.Close()
		r.Close()
		p.exits(exitDone).hasTotals(false)
	})
}

func TestProgramCloses(t *testing.T) {
	s := newStage(t)
	p := newProgram(t, "--view", "closes", "-o", "json", "--netns", inode(s.lab)).live().start()
	closes := runs(t, s, workload.ClientFirst, workload.ServerFirst, workload.HalfClose, workload.UnreadData, workload.Linger0Server)
	p.signal(os.Interrupt).exits(exitDone)
	rows, end := p.whole()
	if !end.Complete {
		t.Errorf("not complete: %+v", end)
	}
	if n := len(of("close", rows)); n != len(rows) || n != 2*len(closes) {
		t.Errorf("%d records, %d of them closes; want %d closes", len(rows), n, 2*len(closes))
	}
	for _, c := range closes {
		for _, side := range []*workload.Side{c.Client, c.Server} {
			i := slices.IndexFunc(rows, func(r line) bool { return r.addresses() == ends{side.Local, side.Peer} })
			if i < 0 {
				t.Errorf("%s: no record of %v", c.Kind, side.Local)
				continue
			}
			r := rows[i]
			if r.Closer != side.Closer || r.Method != side.Method || r.Process == nil || r.Process.PID != side.PID {
				t.Errorf("%s: %+v, want %+v", c.Kind, r, *side)
			}
			if (r.TimeWait != nil) != side.TimeWait || side.TimeWait && r.TimeWait.EndReason != "open" {
				t.Errorf("%s: TIME_WAIT %+v, want %v, open", c.Kind, r.TimeWait, side.TimeWait)
			}
		}
	}
}

// zoneFile is a time zone five and a half hours east: no guest has a database of them.
func zoneFile(t *testing.T) string {
	t.Helper()
	b := append([]byte("TZif"), make([]byte, 16)...)
	for _, n := range []byte{0, 0, 0, 0, 1, 4} { // UT and standard indicators, leaps, transitions, types, letters
		b = append(b, 0, 0, 0, n)
	}
	const east = 5*3600 + 1800
	b = append(b, 0, 0, east>>8, east&0xff, 0, 0)
	b = append(b, "XST\x00"...)
	path := t.TempDir() + "/XST"
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgramTable(t *testing.T) {
	s := newStage(t)
	zone := zoneFile(t)
	one := func(t *testing.T, env []string, args ...string) []string {
		t.Helper()
		p := newProgram(t, append(args, "--netns", inode(s.lab), "-c", "1")...).live()
		p.cmd.Env = append(append(p.cmd.Env, "TZ="+zone), env...)
		p.start()
		runs(t, s, workload.Linger0)
		p.exits(exitDone)
		return strings.Split(strings.TrimSuffix(p.out.String(), "\n"), "\n")
	}
	sinceMidnight := func(t *testing.T, row string) time.Duration {
		t.Helper()
		clock, _, _ := strings.Cut(row, " ")
		at, err := time.Parse("15:04:05.000000", clock)
		if err != nil {
			t.Fatalf("%v in %q", err, row)
		}
		return at.Sub(at.Truncate(24 * time.Hour))
	}
	for _, c := range []struct {
		name    string
		args    []string
		heading string
		east    time.Duration
		escapes bool
	}{
		{"plain", nil, "TIME PID COMM LOCAL PEER TRANSITION MS NOTE", 5*time.Hour + 30*time.Minute, false},
		{"wide", []string{"-o", "wide"}, "TIME PID COMM LOCAL PEER TRANSITION MS ROLE KNOWN UID NETNS SENT RECEIVED PEER PROCESS CONTAINER NOTE", 5*time.Hour + 30*time.Minute, false},
		{"no heading", []string{"--no-header"}, "", 5*time.Hour + 30*time.Minute, false},
		{"utc", []string{"--utc"}, "TIME PID COMM LOCAL PEER TRANSITION MS NOTE", 0, false},
		{"color", []string{"--color", "always", "--no-header", "--utc"}, "", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := one(t, nil, c.args...)
			if c.heading != "" {
				if got := strings.Join(strings.Fields(lines[0]), " "); got != c.heading {
					t.Errorf("heading %q, want %q", got, c.heading)
				}
				lines = lines[1:]
			}
			if len(lines) != 1 {
				t.Fatalf("%d rows, want 1: %q", len(lines), lines)
			}
			if got := strings.Contains(lines[0], "\x1b["); got != c.escapes {
				t.Errorf("colored: %v, want %v: %q", got, c.escapes, lines[0])
			}
			row := regexp.MustCompile(`\x1b\[\d*m`).ReplaceAllString(lines[0], "")
			now := time.Now().UTC().Add(c.east)
			late := (now.Sub(now.Truncate(24*time.Hour)) - sinceMidnight(t, row) + 24*time.Hour) % (24 * time.Hour)
			if late > programTime {
				t.Errorf("the row is from %v ago: another time zone: %q", late, row)
			}
			for _, want := range []string{"demo-client", "ESTABLISHED → CLOSE", "SO_LINGER"} {
				if !strings.Contains(row, want) {
					t.Errorf("no %q in %q", want, row)
				}
			}
		})
	}
}

// terminal opens a pseudo-terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("kernel lacks: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	// TIOCGPTPEER (4.13) needs no /dev/pts.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Fatal(errno)
	}
	slave = os.NewFile(fd, "terminal")
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// TestProgramColor: colors are for people, unless they do not want them.
func TestProgramColor(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		name    string
		env     []string
		colored bool
	}{
		{"terminal", []string{"TERM=xterm"}, true},
		{"NO_COLOR", []string{"TERM=xterm", "NO_COLOR=1"}, false},
		{"dumb", []string{"TERM=dumb"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			master, slave := terminal(t)
			p := newProgram(t, "--netns", inode(s.lab), "-c", "1", "--no-header").live()
			p.cmd.Env = append(p.cmd.Env, c.env...)
			p.cmd.Stdout = slave
			p.start()
			slave.Close()
			runs(t, s, workload.Linger0)
			p.exits(exitDone)
			b := make([]byte, 4096)
			n, err := master.Read(b)
			if err != nil || !strings.Contains(string(b[:n]), "demo-client") {
				t.Fatalf("%q, %v; want a row", b[:n], err)
			}
			if got := strings.Contains(string(b[:n]), "\x1b["); got != c.colored {
				t.Errorf("colored: %v, want %v: %q", got, c.colored, b[:n])
			}
		})
	}
}

// TestProgramUsage: a mistake on the command line is told with what to do instead.
func TestProgramUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"-L 70000", []string{`--local-port "70000"`, "use a port, such as 8080, or a range"}},
		{"-D 90-80", []string{`--peer-port "90-80"`, "use a port, such as 8080, or a range"}},
		{"-D http", []string{`--peer-port "http"`, "use a port"}},
		{"--local 10.0.0.0/33", []string{`--local "10.0.0.0/33"`, "use an address or a network"}},
		{"--peer nowhere", []string{`--peer "nowhere"`, "use an address or a network"}},
		{"--frobnicate", []string{"unknown flag: --frobnicate", "--help"}},
		{"frobnicate", []string{`unknown command "frobnicate"`, "--help"}},
		{"doctor frobnicate", []string{`"frobnicate"`, "--help"}},
		{"--view rows", []string{`--view "rows"`, "use transitions, closes"}},
		{"-o yaml", []string{`--output "yaml"`, "use table, wide, json"}},
		{"--color mauve", []string{`--color "mauve"`, "use auto, always, never"}},
		{"--log-level loud", []string{`--log-level "loud"`, "use debug, info, warn or error"}},
		{"--log-format xml", []string{`--log-format "xml"`, "use console, json"}},
		{"--closer somebody", []string{`--closer "somebody"`, "use local, peer, both or kernel"}},
		{"--method magic", []string{`--method "magic"`, "use one of close, shutdown, exit"}},
		{"--netns inode:zero", []string{`--netns "inode:zero"`, "use inode:N"}},
		{"--netns /proc/self/status", []string{"--netns", "is not a network namespace"}},
		{"--netns /proc/self/ns/uts", []string{"--netns", "is not a network namespace"}},
		{"--netns 4194999", []string{"--netns", "/proc/4194999/ns/net"}},
		{"--ring-size 5000", []string{`--ring-size "5000"`, "use a power of two"}},
		{"--ring-size 8GB", []string{`--ring-size "8GB"`, "use a power of two"}},
		{"--ring-size 1", []string{`--ring-size "1"`, "use a power of two"}},
		{"--time-wait-probe kprobe", []string{"--time-wait-probe", "kprobe", "use auto, fentry or timer"}},
		{"doctor --time-wait-probe kprobe", []string{"--time-wait-probe", "use auto, fentry or timer"}},
		{"-4 -6", []string{"-4 and -6 exclude each other"}},
		{"--max-sockets 0", []string{"--max-sockets 0"}},
		{"--max-sockets many", []string{"--max-sockets", "--help"}},
		{"--duration -5s", []string{"--duration"}},
		{"-d soon", []string{"--duration", "--help"}},
		{"-c -1", []string{"--count", "--help"}},
		{"-p self", []string{"--pid", "--help"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			p := newProgram(t, strings.Fields(c.args)...).start().exits(exitUsage).says(c.want...)
			if p.out.String() != "" {
				t.Errorf("on stdout, which is for facts: %s", p.out.String())
			}
			if n := strings.Count(p.err.String(), "\n"); n != 1 || !strings.HasPrefix(p.err.String(), "finwait: ") {
				t.Errorf("%d lines, want one, from finwait:\n%s", n, p.err.String())
			}
		})
	}
}

// TestProgramPrivilege: without privilege it says which one is missing.
func TestProgramPrivilege(t *testing.T) {
	needsKernel(t) // a user to change from
	for _, args := range [][]string{{}, {"doctor"}, {"demo"}, {"-o", "json"}} {
		p := newProgram(t, args...).as().start().exits(exitPrivilege).says("CAP_BPF", "CAP_PERFMON", "sudo", "setcap")
		if strings.Contains(p.out.String(), "{") {
			t.Errorf("a trace was begun: %s", p.out.String())
		}
	}
	newProgram(t, "version").as().start().exits(exitDone)
	newProgram(t, "--help").as().start().exits(exitDone)
}

// TestProgramFewCapabilities: three capabilities and no root are enough for a trace, and it
// says what it cannot do.
func TestProgramFewCapabilities(t *testing.T) {
	s := newStage(t)
	// Kernels before 5.11 charge maps to this limit. Later ones do not mind if it stays.
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).as(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYSLOG).live().start()
	p.says("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")
	closes := runs(t, s, workload.ClientFirst, workload.ServerFirst)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	rows, end := p.whole()
	if !end.Complete {
		t.Errorf("not complete: %+v", end)
	}
	for _, c := range closes {
		for _, side := range []*workload.Side{c.Client, c.Server} {
			var found bool
			for _, r := range of("transition", rows) {
				if r.addresses() == (ends{side.Local, side.Peer}) {
					found = true
					if r.Process == nil || r.Process.PID != side.PID || r.Process.Comm != side.Comm {
						t.Errorf("%s: %s → %s is put down to %+v, want %d", c.Kind, r.OldState, r.NewState, r.Process, side.PID)
					}
				}
			}
			if !found {
				t.Errorf("%s: nothing of %v", c.Kind, side.Local)
			}
		}
	}
}

// TestProgramKernelCannot: what was asked for cannot be had on this kernel.
func TestProgramKernelCannot(t *testing.T) {
	if slices.Contains(probes(t), tracer.ProbeFentry) {
		t.Skip("kernel lacks: a policy that refuses fentry")
	}
	for _, args := range [][]string{{"--time-wait-probe", "fentry"}, {"doctor", "--time-wait-probe", "fentry"}} {
		p := newProgram(t, args...).start().exits(exitKernel).says("finwait: ", "fentry", "this kernel cannot be traced")
		if n := strings.Count(p.err.String(), "\n"); n != 1 {
			t.Errorf("%d lines, want one:\n%s", n, p.err.String())
		}
	}
}

func TestProgramDoctor(t *testing.T) {
	needsKernel(t)
	p := newProgram(t, "doctor").start().exits(exitDone)
	tr, err := tracer.Open(tracer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	lines := strings.Split(p.out.String(), "\n")
	for _, h := range tr.Hooks() {
		want := h.Attached
		if want == "" {
			want = "NO"
		}
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, h.Name+" ") && strings.Contains(l, "  "+want+"  ") && strings.HasSuffix(l, h.Sees)
		}) {
			t.Errorf("no line says that %s is attached by %s:\n%s", h.Name, want, p.out.String())
		}
	}
	if !strings.Contains(p.out.String(), "TIME_WAIT is watched") {
		t.Errorf("nothing about TIME_WAIT:\n%s", p.out.String())
	}
}

func TestProgramVersion(t *testing.T) {
	p := newProgram(t, "version").start().exits(exitDone)
	if !regexp.MustCompile(`^finwait \S+, go\S+ linux/\w+, Linux 5\.10 or newer with BTF\n$`).MatchString(p.out.String()) {
		t.Errorf("%q", p.out.String())
	}
}

// TestProgramDemo: the demo ends by itself, and its counts are the kernel's.
func TestProgramDemo(t *testing.T) {
	needsKernel(t)
	p, j := newProgram(t, "demo").start(), newProgram(t, "demo", "-o", "json").start()
	p.exits(exitDone).hasTotals(false)
	_, counts, found := strings.Cut(p.out.String(), "counts beside the kernel's own:\n")
	if !found {
		t.Fatalf("no counts:\n%s", p.out.String())
	}
	lines := strings.Split(strings.TrimSpace(counts), "\n")
	for _, line := range lines {
		if !strings.HasSuffix(line, "  agree") {
			t.Errorf("%s", line)
		}
	}
	if len(lines) < 3 {
		t.Errorf("%d counts, want at least 3", len(lines))
	}
	for _, k := range workload.Kinds() {
		if !strings.Contains(p.out.String(), k.Story()) {
			t.Errorf("nothing about %s", k)
		}
	}
	j.exits(exitDone).hasTotals(false)
	rows, end := j.whole()
	if n := uint64(len(of("transition", rows))); n != end.Totals["transitions"] || n == 0 || !end.Complete {
		t.Errorf("%d transitions; trace_end says %+v", n, end)
	}
}
