// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"finwait/output/trace"
	"finwait/tracer/workload"
)

// credentials are what /proc/PID/status says of a thread's rights.
type credentials struct {
	sets       map[string]uint64 // CapInh, CapPrm, CapEff, CapBnd, CapAmb
	noNewPrivs bool
}

// threads reads the rights of every thread of the program.
func (p *program) threads() []credentials {
	p.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		p.t.Fatalf("no threads: %v", err)
	}
	var list []credentials
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		c := credentials{sets: map[string]uint64{}}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			if strings.HasPrefix(name, "Cap") {
				if c.sets[name], err = strconv.ParseUint(value, 16, 64); err != nil {
					p.t.Fatalf("%s: %v", line, err)
				}
			}
			c.noNewPrivs = c.noNewPrivs || name == "NoNewPrivs" && value == "1"
		}
		if len(c.sets) < 4 {
			p.t.Fatalf("%s says too little:\n%s", file, b)
		}
		list = append(list, c)
	}
	return list
}

// holds fails unless every thread has exactly these capabilities, and can have no others.
func (p *program) holds(bound bool, capabilities ...uint) {
	p.t.Helper()
	var want uint64
	for _, c := range capabilities {
		want |= 1 << c
	}
	for _, c := range p.threads() {
		if c.sets["CapPrm"] != want || c.sets["CapEff"] != want || c.sets["CapInh"] != 0 || c.sets["CapAmb"] != 0 || !c.noNewPrivs {
			p.t.Errorf("a thread has %#x, no_new_privs %v; want %#x alone", c.sets, c.noNewPrivs, want)
		}
		if bound && c.sets["CapBnd"] != want {
			p.t.Errorf("the bounding set is %#x, want %#x", c.sets["CapBnd"], want)
		}
	}
}

// exeOf returns what the trace says of the program file of a process.
func exeOf(t *testing.T, p *program, pid int) (exe string) {
	t.Helper()
	want := fmt.Sprintf(`"pid":%d,`, pid)
	found := false
	for one := range strings.Lines(p.out.String()) {
		_, process, ok := strings.Cut(one, `"process":{`)
		if !ok || !strings.Contains(process[:strings.IndexByte(process, '}')], want) {
			continue
		}
		found = true
		if _, rest, ok := strings.Cut(process, `"exe":"`); ok {
			exe = rest[:strings.IndexByte(rest, '"')]
		}
	}
	if !found {
		t.Fatalf("nothing of process %d:\n%s", pid, p.out.String())
	}
	return exe
}

// talks makes one connection between two processes of the lab.
func talks(client, server *actor) {
	p := link(client, server, server.do(order{Op: "listen", Addr: loopback}))
	client.do(order{Op: "close", FD: p.clientFD})
	server.do(order{Op: "read_end", FD: p.serverFD})
	server.do(order{Op: "close", FD: p.serverFD})
}

// TestPrivilegesGivenUp: once it is ready, finwait has no privilege left, on any thread, and
// the trace is whole all the same: the kernel's own counters in another namespace included.
func TestPrivilegesGivenUp(t *testing.T) {
	s := newStage(t)
	early := s.actor("early")
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--log-level", "debug").live().start()
	p.holds(true)
	late := s.actor("late")
	talks(early, late)
	runs(t, s, workload.ClientFirst, workload.ServerFirst, workload.Linger0)
	p.holds(true)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	if _, end := p.whole(); !end.Complete {
		t.Errorf("not complete: %+v", end)
	}
	if !strings.Contains(p.out.String(), `"ours"`) {
		t.Errorf("the kernel's own counters are not in the trace:\n%s", p.out.String())
	}
	if strings.Contains(p.err.String(), "DIFFER") {
		t.Errorf("%s", p.err.String())
	}
	if exe := exeOf(t, p, early.pid); exe != early.exe {
		t.Errorf("the program file of a process that was there before is %q, want %q", exe, early.exe)
	}
	if exe := exeOf(t, p, late.pid); exe != "" && exe != late.exe {
		t.Errorf("the program file of a process that came later is %q, want %q or nothing", exe, late.exe)
	}
}

// TestPrivilegesKept: what is asked for stays, and is good for something.
func TestPrivilegesKept(t *testing.T) {
	s := newStage(t)
	early := s.actor("early")
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--keep-capabilities", "cap_sys_ptrace").live().start()
	p.holds(true, unix.CAP_SYS_PTRACE)
	late := s.actor("late")
	talks(early, late)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	if exe := exeOf(t, p, late.pid); exe != late.exe {
		t.Errorf("with CAP_SYS_PTRACE, the program file is %q, want %q", exe, late.exe)
	}
	all := newProgram(t, "-o", "json", "--netns", inode(s.lab), "--keep-capabilities", "all").live().start().says("all privileges are kept")
	for _, c := range all.threads() {
		if c.noNewPrivs || c.sets["CapEff"] == 0 {
			t.Errorf("privileges are gone: %#x", c.sets)
		}
	}
	all.signal(os.Interrupt).exits(exitDone)
	newProgram(t, "--keep-capabilities", "cap_fly").start().exits(exitUsage).says("--keep-capabilities", "cap_sys_ptrace")
}

// TestPrivilegesFew: a user with three capabilities gives them up as well. The bounding set
// needs a fourth; no_new_privs makes it useless.
func TestPrivilegesFew(t *testing.T) {
	s := newStage(t)
	_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).as(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYSLOG).live().start()
	p.holds(false)
	runs(t, s, workload.ClientFirst)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
}

// TestPrivilegesRotation: the parts of a recording in somebody else's directory need a
// capability; in one's own, none.
func TestPrivilegesRotation(t *testing.T) {
	s := newStage(t)
	for _, tc := range []struct {
		name  string
		owner int
		kept  []uint
	}{
		{"own", os.Getuid(), nil},
		{"somebody else's", nobody, []uint{unix.CAP_DAC_OVERRIDE}},
	} {
		dir := t.TempDir()
		if err := os.Chown(dir, tc.owner, -1); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "trace.jsonl")
		p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab), "--rotate-every", "50ms", "--keep", "2").live().start()
		p.holds(true, tc.kept...)
		p.await("at part 4", func() bool {
			_, err := os.Stat(trace.PartName(file, 4))
			return err == nil
		})
		p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
		if said := strings.Contains(p.err.String(), "CAP_DAC_OVERRIDE"); said != (tc.kept != nil) {
			t.Errorf("%s: it says: %s", tc.name, p.err.String())
		}
		st, err := os.Stat(trace.PartName(file, 4))
		if err == nil && st.Mode() != 0o600 {
			t.Errorf("%s: a recording has mode %v, want 0600", tc.name, st.Mode())
		}
	}
}

// TestStartsNoProcess runs in a world where the kernel kills whoever starts a process or
// another program.
func TestStartsNoProcess(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "trace.jsonl.zst")
	p := newProgram(t, "record", "-w", file, "--netns", inode(s.lab)).in("kill=exec").live().start()
	runs(t, s, workload.ClientFirst, workload.Linger0)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	newProgram(t, "doctor").in("kill=exec").start().exits(exitDone)
	newProgram(t, "replay", file, "--view", "closes").in("kill=exec").start().exits(exitDone)
	newProgram(t, "report", file, "--html", filepath.Join(dir, "page.html")).in("kill=exec").start().exits(exitDone)
	// The world is what it says: the demo starts processes.
	d := newProgram(t, "demo").in("kill=exec").start()
	<-d.ended
	if ws, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGSYS {
		t.Errorf("the demo ended with %v, want to be killed for starting a process:\n%s", d.cmd.ProcessState, d.err.String())
	}
}

// TestEnvironment: no variable of whoever calls leads to a file, a program or a library.
func TestEnvironment(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab), "-d", "10ms").live()
	trap := filepath.Join(dir, "trap")
	for _, name := range []string{"PAGER", "EDITOR", "SHELL", "BROWSER", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "GODEBUG", "TERMINFO", "LOCPATH"} {
		value := trap
		if name == "GODEBUG" {
			value = "http2debug=0"
		}
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.in("kill=exec").start().exits(exitDone)
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("%v, %v: something has been made where a variable pointed to", list, err)
	}
}

// TestFileCapabilities: setcap instead of sudo. The program file carries what it needs, and
// its user has nothing.
func TestFileCapabilities(t *testing.T) {
	setcap := needsTool(t, "setcap")
	s := newStage(t)
	dir, err := os.MkdirTemp("", "finwait-setcap-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe := filepath.Join(dir, "finwait")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(exe, self, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(setcap, "cap_bpf,cap_perfmon,cap_syslog,cap_sys_ptrace,cap_sys_admin+ep", exe).CombinedOutput(); err != nil {
		t.Skipf("kernel lacks: file capabilities here: %s", out)
	}
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).as().live()
	p.cmd.Path = exe
	p.start().holds(false)
	runs(t, s, workload.ClientFirst)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	if _, end := p.whole(); !end.Complete || end.Totals["transitions"] == 0 {
		t.Errorf("%+v", end)
	}
}
