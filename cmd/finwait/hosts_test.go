// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"finwait/tracer/workload"
)

// oneLine fails unless stderr is one line, from finwait.
func (p *program) oneLine() *program {
	p.t.Helper()
	if n := strings.Count(p.err.String(), "\n"); n != 1 || !strings.HasPrefix(p.err.String(), "finwait: ") {
		p.t.Errorf("finwait %v: %d lines, want one, from finwait:\n%s", p.cmd.Args[1:], n, p.err.String())
	}
	return p
}

// TestHostsThatCannot: where there can be no trace, one line says what is missing, why, and
// what to do; the exit status says whether a privilege or the kernel is at fault.
func TestHostsThatCannot(t *testing.T) {
	needsKernel(t)
	for _, c := range []struct {
		name  string
		world []string
		as    []uintptr // nil: root
		code  int
		says  []string
	}{
		{"a container engine's seccomp filter", []string{"deny=bpf"}, nil, exitKernel, []string{"EPERM", "policy", "seccomp", "on the host"}},
		{"a policy on programs alone", []string{"deny=bpf-load"}, nil, exitKernel, []string{"EPERM", "policy", "seccomp"}},
		{"a kernel without bpf()", []string{"absent=bpf"}, nil, exitKernel, []string{"no bpf() system call", "CONFIG_BPF_SYSCALL"}},
		{"no /proc", []string{"hide=/proc"}, nil, exitKernel, []string{"no proc on /proc", "mount -t proc"}},
		{"no /sys", []string{"hide=/sys"}, nil, exitKernel, []string{"no sysfs on /sys", "mount -t sysfs"}},
		{"symbols masked", []string{"mask=/proc/kallsyms"}, nil, exitKernel, []string{"/proc/kallsyms", "kptr_restrict"}},
		{"one capability of two", nil, []uintptr{unix.CAP_BPF, unix.CAP_SYSLOG}, exitPrivilege, []string{"CAP_PERFMON", "sudo", "setcap"}},
		{"the other one", nil, []uintptr{unix.CAP_PERFMON, unix.CAP_SYSLOG}, exitPrivilege, []string{"CAP_BPF", "sudo", "setcap"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, args := range [][]string{{"--time-wait-probe", "timer"}, {"doctor", "--time-wait-probe", "timer"}} {
				p := newProgram(t, args...)
				if c.as != nil {
					p.as(c.as...)
				}
				p.in(c.world...).start().exits(c.code).says(c.says...).oneLine()
				if strings.Contains(p.err.String(), "MEMLOCK") {
					t.Errorf("a hint that leads astray: %s", p.err.String())
				}
				if args[0] != "doctor" && p.out.String() != "" {
					t.Errorf("on stdout, which is for facts: %s", p.out.String())
				}
				if args[0] == "doctor" && !strings.Contains(p.out.String(), "cannot be traced") {
					t.Errorf("doctor says: %s", p.out.String())
				}
			}
		})
	}
	t.Run("no addresses of symbols", func(t *testing.T) {
		// Without CAP_SYSLOG the timer probe cannot be; where fentry is allowed, there is a trace.
		p := newProgram(t, "--time-wait-probe", "timer").as(unix.CAP_BPF, unix.CAP_PERFMON)
		p.start().exits(exitPrivilege).says("CAP_SYSLOG", "/proc/kallsyms", "sudo").oneLine()
	})
	t.Run("no new program file", func(t *testing.T) {
		p := newProgram(t, "doctor").as().start().exits(exitPrivilege)
		for _, want := range []string{"CAP_BPF              NO", "CAP_PERFMON          NO", "without it: there is no trace"} {
			if !strings.Contains(p.out.String(), want) {
				t.Errorf("doctor does not say %q:\n%s", want, p.out.String())
			}
		}
	})
}

// TestUserNamespace: root in a user namespace has every capability, and none that counts.
func TestUserNamespace(t *testing.T) {
	needsKernel(t)
	for _, args := range [][]string{{}, {"doctor"}, {"record", "-w", "-"}} {
		p := newProgram(t, args...)
		p.cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: nobody, Size: 1}},
		}
		if err := p.cmd.Start(); err != nil {
			t.Skipf("kernel lacks: user namespaces here: %v", err)
		}
		p.cmd.Process.Kill()
		p.cmd.Wait()
		q := newProgram(t, args...)
		q.cmd.SysProcAttr = p.cmd.SysProcAttr
		q.start().exits(exitPrivilege).says("user namespace", "on the host").oneLine()
	}
}

// TestHostsThatLack: something is missing that a trace can do without, or find elsewhere.
func TestHostsThatLack(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		name  string
		world []string
	}{
		{"no type information in /sys", []string{"hide=/sys/kernel/btf"}},
		{"type information masked", []string{"mask=/sys/kernel/btf/vmlinux"}},
		{"no tracefs", []string{"hide=/sys/kernel/tracing"}},
		{"no /run", []string{"hide=/run"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, what := range c.world {
				_, path, _ := strings.Cut(what, "=")
				if _, err := os.Stat(path); err != nil {
					t.Skipf("kernel lacks: %v", err)
				}
			}
			p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).in(c.world...).live().start()
			runs(t, s, workload.ClientFirst, workload.ServerFirst)
			p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
			if rows, _ := p.whole(); len(of("transition", rows)) == 0 {
				t.Error("nothing was traced")
			}
		})
	}
}

// TestHidepid: a /proc that hides other users' processes hides their names, and no more.
func TestHidepid(t *testing.T) {
	s := newStage(t)
	proc := t.TempDir()
	if err := unix.Mount("proc", proc, "proc", 0, "hidepid=2"); err != nil {
		t.Skipf("kernel lacks: hidepid here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(proc, unix.MNT_DETACH) })
	// The mount is of this namespace's processes; the program gets it in the place of /proc.
	p := newProgram(t, "-o", "json", "--netns", inode(s.lab)).as(unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYSLOG, unix.CAP_SYS_ADMIN, unix.CAP_DAC_READ_SEARCH)
	p.in("bind=" + proc + ":/proc").live().start()
	runs(t, s, workload.ClientFirst)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	if rows, _ := p.whole(); len(of("transition", rows)) == 0 {
		t.Error("nothing was traced")
	}
}

// TestChroot: finwait alone in a directory, with nothing but itself.
func TestChroot(t *testing.T) {
	needsKernel(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("kernel lacks: a Go toolchain, to build a program that needs no libraries")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "finwait"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := newProgram(t, "--time-wait-probe", "timer")
	p.cmd.Path, p.cmd.Args[0], p.cmd.Dir = "/finwait", "/finwait", "/"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	p.start().exits(exitKernel).says("no proc on /proc", "mount -t proc").oneLine()
}

// TestBTF: the kernel's types from a file.
func TestBTF(t *testing.T) {
	s := newStage(t)
	own, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := append([]byte(nil), own...)
	other[len(other)-2] ^= 1 // in the last name
	copied := file("vmlinux", own)
	for _, args := range [][]string{{"-o", "json"}, {"record", "-w", "-"}} {
		p := newProgram(t, append(args, "--btf", copied, "--netns", inode(s.lab))...).live().start()
		runs(t, s, workload.ClientFirst)
		p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
		if rows, _ := p.whole(); len(of("transition", rows)) == 0 {
			t.Error("nothing was traced")
		}
	}
	newProgram(t, "doctor", "--btf", copied).start().exits(exitDone)
	t.Run("where the kernel's own is hidden", func(t *testing.T) {
		newProgram(t, "doctor", "--btf", copied).in("hide=/sys/kernel/btf").start().exits(exitDone)
		// Nobody can tell whether it is the right one: only the kernel could, and it tells root.
		p := newProgram(t, "--btf", copied).in("hide=/sys/kernel/btf", "lose=cap_sys_admin").start()
		p.exits(exitPrivilege).says("CAP_SYS_ADMIN", "mount sysfs").oneLine()
	})
	for _, c := range []struct {
		name string
		path string
		says []string
	}{
		{"another kernel's", file("other", other), []string{"of another kernel", "/sys/kernel/btf/vmlinux"}},
		{"half of it", file("half", own[:len(own)/2]), []string{"half"}},
		{"garbage", file("garbage", []byte("what is this?")), []string{"garbage", "name a copy"}},
		{"empty", file("empty", nil), []string{"empty"}},
		{"a program", "/proc/self/exe", []string{"without a .BTF section"}},
		{"a directory", dir, []string{"is a directory"}},
		{"missing", filepath.Join(dir, "missing"), []string{"no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, args := range [][]string{{}, {"doctor"}, {"demo"}, {"record", "-w", filepath.Join(dir, "x.jsonl")}} {
				newProgram(t, append(args, "--btf", c.path)...).start().exits(exitUsage).says(c.says...).oneLine()
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "x.jsonl")); err == nil {
		t.Error("a recording was begun")
	}
}
