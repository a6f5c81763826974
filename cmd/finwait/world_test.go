// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// A program under test can be put into a world where something is missing or forbidden,
// as containers and hardened hosts are. The world is made in the process itself, before
// it becomes finwait:
//
//	hide=PATH     an empty file system is mounted over the directory, in a mount namespace of its own
//	mask=PATH     /dev/null is mounted over the file
//	bind=FROM:TO  a directory is mounted in the place of another
//	lose=CAP      a capability is not there
//	fsize=N       no file gets larger than N bytes (RLIMIT_FSIZE)
//	deny=bpf      bpf(2) is refused with EPERM, as a container engine's seccomp filter does
//	deny=bpf-load of bpf(2), loading programs is
//	absent=bpf    bpf(2) is not there (ENOSYS)
//	kill=exec     whatever starts a process, or another program, kills the caller
const worldVariable = "FINWAIT_TEST_WORLD"

// in puts the program into a world.
func (p *program) in(world ...string) *program {
	p.cmd.Env = append(p.cmd.Env, worldVariable+"="+strings.Join(world, ";"))
	return p
}

func enterWorld() error {
	list := os.Getenv(worldVariable)
	if list == "" {
		return nil
	}
	var hides, later []string
	for what := range strings.SplitSeq(list, ";") {
		how, _, _ := strings.Cut(what, "=")
		if how == "hide" || how == "mask" || how == "bind" || how == "lose" {
			hides = append(hides, what)
		} else {
			later = append(later, what)
		}
	}
	if len(hides) > 0 {
		return hideAndStartAgain(hides, strings.Join(later, ";"))
	}
	for _, what := range later {
		if size, ok := strings.CutPrefix(what, "fsize="); ok {
			n, err := strconv.ParseUint(size, 10, 64)
			if err == nil {
				err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n})
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := forbid(what); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// hideAndStartAgain makes a mount namespace and begins this program anew in it: a mount
// namespace is a thread's, and only exec makes it the whole process's.
func hideAndStartAgain(hides []string, later string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, what := range hides {
		how, path, _ := strings.Cut(what, "=")
		switch how {
		case "mask":
			err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		case "bind":
			from, to, _ := strings.Cut(path, ":")
			err = unix.Mount(from, to, "", unix.MS_BIND, "")
		case "lose":
			var v cap.Value
			if v, err = cap.FromName(path); err == nil {
				err = unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(v), 0, 0, 0)
			}
		default:
			err = unix.Mount("none", path, "tmpfs", 0, "")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := os.Setenv(worldVariable, later); err != nil {
		return err
	}
	return unix.Exec(exe, os.Args, os.Environ())
}

// forbid sets a seccomp filter on every thread.
func forbid(what string) error {
	const (
		allow    = 0x7fff0000
		killAll  = 0x80000000
		errno    = 0x00050000
		number   = 0  // offsets in struct seccomp_data
		firstArg = 16 // its lower half: finwait runs on little-endian machines alone
	)
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	var prog []unix.SockFilter
	switch what {
	case "deny=bpf":
		prog = []unix.SockFilter{load(number), jump(unix.BPF_JEQ, unix.SYS_BPF, 0, 1), ret(errno | uint32(unix.EPERM)), ret(allow)}
	case "absent=bpf":
		prog = []unix.SockFilter{load(number), jump(unix.BPF_JEQ, unix.SYS_BPF, 0, 1), ret(errno | uint32(unix.ENOSYS)), ret(allow)}
	case "deny=bpf-load":
		const progLoad = 5
		prog = []unix.SockFilter{
			load(number), jump(unix.BPF_JEQ, unix.SYS_BPF, 0, 3),
			load(firstArg), jump(unix.BPF_JEQ, progLoad, 0, 1), ret(errno | uint32(unix.EPERM)), ret(allow),
		}
	case "kill=exec":
		prog = []unix.SockFilter{
			load(number),
			jump(unix.BPF_JEQ, unix.SYS_EXECVE, 7, 0), jump(unix.BPF_JEQ, unix.SYS_EXECVEAT, 6, 0),
			jump(unix.BPF_JEQ, sysFork, 5, 0), jump(unix.BPF_JEQ, sysVfork, 4, 0),
			jump(unix.BPF_JEQ, unix.SYS_CLONE3, 4, 0), // its flags are out of reach: there is clone() instead
			jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
			load(firstArg), jump(unix.BPF_JSET, unix.CLONE_THREAD, 2, 0),
			ret(killAll), ret(errno | uint32(unix.ENOSYS)), ret(allow),
		}
	default:
		return fmt.Errorf("no such world")
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	if e != 0 {
		return e
	}
	return nil
}
