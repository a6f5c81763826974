// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// fakeProc is a directory that looks like /proc.
type fakeProc struct {
	t    *testing.T
	root string
}

func newProc(t *testing.T) fakeProc {
	t.Helper()
	p := fakeProc{t, t.TempDir()}
	p.write("self/mountinfo", "")
	return p
}

func (p fakeProc) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// process adds a process; ticks is field 22 of its stat.
func (p fakeProc) process(pid int, comm, exe string, ticks uint64) {
	p.t.Helper()
	p.write(fmt.Sprintf("%d/stat", pid), fmt.Sprintf(
		"%d (%s) S 1 812 812 0 -1 4194560 1000 0 0 0 1 2 0 0 20 0 1 0 %d 12345678 900 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
		pid, comm, ticks))
	if exe == "" {
		return
	}
	link := filepath.Join(p.root, fmt.Sprint(pid), "exe")
	os.Remove(link)
	if err := os.Symlink(exe, link); err != nil {
		p.t.Fatal(err)
	}
}

const tickNS = 1e7 // USER_HZ is 100

func TestExe(t *testing.T) {
	p := newProc(t)
	p.process(812, "nginx", "/usr/sbin/nginx", 4321)
	p.process(813, "a) b (c", "/usr/bin/nasty", 4321)
	p.process(814, ") S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 99", "/usr/bin/liar", 4321)
	p.process(815, "new\nline", "/usr/bin/newline", 4321)
	p.process(816, "deleted", "/usr/bin/gone (deleted)", 4321)
	p.process(817, "kthread", "", 4321)
	p.write("818/stat", "818 (short) S 1 2 3\n")
	p.write("819/stat", "")
	p.write("820/stat", "no parenthesis at all")
	for _, pid := range []int{818, 819, 820, 821} {
		if err := os.MkdirAll(filepath.Join(p.root, fmt.Sprint(pid)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/usr/bin/odd", filepath.Join(p.root, fmt.Sprint(pid), "exe")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name  string
		pid   uint32
		start uint64
		want  string
	}{
		{"plain", 812, 4321 * tickNS, "/usr/sbin/nginx"},
		{"started within the tick", 812, 4321*tickNS + tickNS - 1, "/usr/sbin/nginx"},
		{"the pid has been used again: started later", 812, 4320 * tickNS, ""},
		{"the pid was another's before", 812, 4322 * tickNS, ""},
		{"parentheses and spaces in the name", 813, 4321 * tickNS, "/usr/bin/nasty"},
		{"a name that imitates the fields after it", 814, 4321 * tickNS, "/usr/bin/liar"},
		{"the same, believed", 814, 99 * tickNS, ""},
		{"a newline in the name", 815, 4321 * tickNS, "/usr/bin/newline"},
		{"program file replaced since", 816, 4321 * tickNS, "/usr/bin/gone (deleted)"},
		{"no program file", 817, 4321 * tickNS, ""},
		{"stat too short", 818, 0, ""},
		{"stat empty", 819, 0, ""},
		{"stat without a name", 820, 0, ""},
		{"stat missing", 821, 0, ""},
		{"gone", 999, 4321 * tickNS, ""},
	} {
		n := New(p.root)
		got := event.Process{PID: tc.pid, StartNS: tc.start}
		n.Name(&got, 0)
		misses := uint64(0)
		if tc.want == "" {
			misses = 1
		}
		if got.Exe != tc.want || n.Misses != misses {
			t.Errorf("%s: %q and %d misses, want %q and %d", tc.name, got.Exe, n.Misses, tc.want, misses)
		}
	}
}

// TestExec: execve() leaves the pid and the start time; only the name tells that the
// program file is another's.
func TestExec(t *testing.T) {
	p := newProc(t)
	p.process(812, "a) b (c", "/usr/bin/nasty", 4321)
	n := New(p.root)
	for _, tc := range []struct{ comm, want string }{
		{"a) b (c", "/usr/bin/nasty"}, {"sh", ""}, {"a", ""}, {"a) b (c)", ""},
	} {
		got := event.Process{PID: 812, StartNS: 4321 * tickNS, Comm: event.MakeComm(tc.comm)}
		n.Name(&got, 0)
		if got.Exe != tc.want {
			t.Errorf("%q: %q, want %q", tc.comm, got.Exe, tc.want)
		}
	}
}

// TestExeRemembered: a process is looked up once, and is still known when it is gone;
// the next owner of its pid is another process.
func TestExeRemembered(t *testing.T) {
	p := newProc(t)
	p.process(812, "nginx", "/usr/sbin/nginx", 4321)
	n := New(p.root)
	name := func(ticks uint64) string {
		got := event.Process{PID: 812, StartNS: ticks * tickNS}
		n.Name(&got, 0)
		return got.Exe
	}
	if got := name(4321); got != "/usr/sbin/nginx" {
		t.Fatalf("exe = %q", got)
	}
	p.process(812, "curl", "/usr/bin/curl", 9999)
	if got := name(4321); got != "/usr/sbin/nginx" {
		t.Errorf("the old process has become %q", got)
	}
	if got := name(9999); got != "/usr/bin/curl" {
		t.Errorf("the new process is %q", got)
	}
	if n.Misses != 0 {
		t.Errorf("%d misses", n.Misses)
	}
}

func TestExesBounded(t *testing.T) {
	n := New(newProc(t).root)
	for i := range uint32(maxExes + 10) {
		n.Name(&event.Process{PID: i + 1}, 0)
	}
	if len(n.exes) > maxExes {
		t.Errorf("%d processes remembered, at most %d are allowed", len(n.exes), maxExes)
	}
}

func TestCgroup2Mount(t *testing.T) {
	const v1 = "30 29 0:27 / /sys/fs/cgroup/cpu rw,nosuid shared:10 - cgroup cgroup rw,cpu\n"
	for _, tc := range []struct{ name, text, want string }{
		{"none", "", ""},
		{"v1 alone", v1, ""},
		{"v2", "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "/sys/fs/cgroup"},
		{"hybrid", v1 + "41 29 0:36 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"no optional fields", "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 none rw\n", "/sys/fs/cgroup"},
		{"a file system whose source is called cgroup2", "29 23 0:26 / /mnt rw - ext4 cgroup2 rw\n", ""},
		{"broken lines", "\n - cgroup2 \n29 23\nx - y\n", ""},
	} {
		p := newProc(t)
		p.write("self/mountinfo", tc.text)
		if got := cgroup2Mount(filepath.Join(p.root, "self/mountinfo")); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if got := cgroup2Mount(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("no mountinfo: %q", got)
	}
}

// TestCgroupByWalk: where handles are not allowed, the tree is searched for the inode.
func TestCgroupByWalk(t *testing.T) {
	mount := t.TempDir()
	id := strings.Repeat("ab", 32)
	dir := filepath.Join(mount, "system.slice", "docker-"+id+".scope")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	inode := func(path string) uint64 {
		t.Helper()
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	if err := os.WriteFile(filepath.Join(mount, "a file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c := &cgroups{mount: mount, fd: -1, paths: map[uint64]string{}}
	n := &Namer{root: newProc(t).root, cgroups: c, exes: map[exeKey]string{}, buf: make([]byte, 4096)}
	for _, tc := range []struct {
		name            string
		id              uint64
		path, container string
	}{
		{"the root", inode(mount), "/", ""},
		{"a slice", inode(filepath.Join(mount, "system.slice")), "/system.slice", ""},
		{"a container", inode(dir), "/system.slice/docker-" + id + ".scope", id},
		{"not known", 0, "", ""},
		{"gone", 1 << 62, "", ""},
		{"a file is no cgroup", inode(filepath.Join(mount, "a file")), "", ""},
	} {
		var p event.Process
		n.Name(&p, tc.id)
		if p.Cgroup != tc.path || p.Container != tc.container {
			t.Errorf("%s: %q, %q; want %q, %q", tc.name, p.Cgroup, p.Container, tc.path, tc.container)
		}
	}
	// What was found is not searched for again.
	was := inode(dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := c.path(was); !strings.HasSuffix(got, ".scope") {
		t.Errorf("found again as %q", got)
	}
}

func TestCgroupsBounded(t *testing.T) {
	c := &cgroups{mount: t.TempDir(), fd: -1, paths: map[uint64]string{}}
	for i := range uint64(maxCgroups) {
		c.paths[1<<40+i] = "x"
	}
	c.path(1 << 50)
	if len(c.paths) != 1 {
		t.Errorf("%d cgroups remembered", len(c.paths))
	}
}

func TestContainerID(t *testing.T) {
	a, b := strings.Repeat("0a1b", 16), strings.Repeat("9f8e", 16)
	for _, tc := range []struct{ name, cgroup, want string }{
		{"none", "", ""},
		{"root", "/", ""},
		{"a service", "/system.slice/nginx.service", ""},
		{"docker, systemd driver", "/system.slice/docker-" + a + ".scope", a},
		{"docker, cgroupfs driver", "/docker/" + a, a},
		{"kubernetes, containerd, systemd", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f3c_1.slice/cri-containerd-" + a + ".scope", a},
		{"kubernetes, containerd, cgroupfs", "/kubepods/burstable/pod0f3c0b1e-0000-0000-0000-000000000000/" + a, a},
		{"kubernetes, CRI-O", "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/crio-" + a + ".scope", a},
		{"below CRI-O's scope", "/kubepods.slice/kubepods-pod1.slice/crio-" + a + ".scope/container", a},
		{"podman, rootful", "/machine.slice/libpod-" + a + ".scope", a},
		{"podman, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + a + ".scope/container", a},
		{"nested: the innermost", "/docker/" + a + "/docker/" + b, b},
		{"nested, one right below the other", "/docker/" + a + "/" + b, b},
		{"nested: below the innermost", "/system.slice/docker-" + a + ".scope/kubelet/kubepods/pod1/" + b + "/init.scope", b},
		{"63 digits", "/docker/" + a[1:], ""},
		{"65 digits", "/docker/0" + a, ""},
		{"not hexadecimal", "/docker/" + strings.Repeat("g", 64), ""},
		{"upper case", "/docker/" + strings.Repeat("A", 64), ""},
		{"a part of a name", "/docker/" + a + "x", ""},
		{"another unit", "/system.slice/docker-" + a + ".service", ""},
	} {
		if diff := cmp.Diff(tc.want, ContainerID(tc.cgroup)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestLearn: what is learnt while it may be read is known when it may not be any more; a
// process that comes later, or has another name by then, is not taken for one that was learnt.
func TestLearn(t *testing.T) {
	p := newProc(t)
	p.process(812, "nginx", "/usr/sbin/nginx", 4321)
	p.process(813, "a) b (c", "/usr/bin/nasty", 4321)
	p.process(817, "kthread", "", 4321)
	p.write("self/stat", "")
	mount := t.TempDir()
	slice := filepath.Join(mount, "system.slice")
	if err := os.MkdirAll(slice, 0o755); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(slice, &st); err != nil {
		t.Fatal(err)
	}
	n := New(p.root)
	n.cgroups = &cgroups{mount: mount, fd: -1, paths: map[uint64]string{}}
	if got := n.Learn(); got != 2 {
		t.Errorf("%d processes learnt, want 2", got)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(p.root, "812")), os.RemoveAll(filepath.Join(p.root, "813")), os.RemoveAll(slice)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		pid   uint32
		comm  string
		ticks uint64
		want  string
	}{
		{812, "nginx", 4321, "/usr/sbin/nginx"}, {813, "a) b (c", 4321, "/usr/bin/nasty"},
		{812, "nginx", 4322, ""}, {812, "sh", 4321, ""}, {814, "nginx", 4321, ""},
	} {
		got := event.Process{PID: tc.pid, StartNS: tc.ticks * tickNS, Comm: event.MakeComm(tc.comm)}
		n.Name(&got, st.Ino)
		if got.Exe != tc.want || got.Cgroup != "/system.slice" {
			t.Errorf("%+v: %q, %q", tc, got.Exe, got.Cgroup)
		}
	}
}
