// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// oldest is the first kernel that finwait is meant for.
var oldest = [2]int{5, 10}

// refusal turns the kernel's error about `what` into one that says why and what to do.
// The capabilities are there: privilege.Check has seen to that. So EPERM is a policy's.
func refusal(what string, err error) error {
	switch {
	case errors.Is(err, ErrPrivilege) || errors.Is(err, ErrKernel):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: %s: it has no bpf() system call (built without CONFIG_BPF_SYSCALL)%s", ErrKernel, what, age())
	case isPrivilege(err):
		return fmt.Errorf("%w: %s: refused with EPERM, though this process has the capabilities: a policy of this host or container forbids it%s; "+
			"ask whoever set the policy, or run finwait on the host instead of in a container", ErrKernel, what, policies("/proc/self/status", "/sys/kernel/security/lockdown"))
	}
	return fmt.Errorf("%w: %s: %w%s%s", ErrKernel, what, err, lockdown("/sys/kernel/security/lockdown"), age())
}

// policies names what can be seen of the policies that could be the cause.
func policies(status, lockdownFile string) string {
	var seen []string
	if b, err := os.ReadFile(status); err == nil {
		for line := range strings.Lines(string(b)) {
			if mode, ok := strings.CutPrefix(line, "Seccomp:"); ok && strings.TrimSpace(mode) == "2" {
				seen = append(seen, "a seccomp filter is on this process, as container engines set one (--security-opt seccomp=unconfined lifts it)")
			}
		}
	}
	if text := lockdown(lockdownFile); text != "" {
		seen = append(seen, strings.TrimPrefix(text, "; "))
	}
	if len(seen) == 0 {
		return " (a security module such as SELinux, or the kernel's own build)"
	}
	return " (" + strings.Join(seen, "; ") + ")"
}

// lockdown tells of kernel_lockdown(7) where that keeps programs from reading kernel memory.
func lockdown(file string) string {
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), "[confidentiality]") {
		return ""
	}
	return "; kernel lockdown is in confidentiality mode, where no program may read kernel memory: boot with lockdown=integrity or without"
}

// age says that this kernel is older than what finwait is meant for.
func age() string {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return ""
	}
	return tooOld(unix.ByteSliceToString(uts.Release[:]))
}

func tooOld(release string) string {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return ""
	}
	if major > oldest[0] || major == oldest[0] && minor >= oldest[1] {
		return ""
	}
	return fmt.Sprintf("; this is Linux %s, and finwait needs %d.%d or newer", release, oldest[0], oldest[1])
}
