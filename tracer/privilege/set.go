// SPDX-License-Identifier: Apache-2.0

package privilege

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// ErrMissing is returned when this process cannot trace for want of a privilege.
var ErrMissing = errors.New("not permitted")

// Held reports whether the calling thread has the capability in effect. CAP_SYS_ADMIN
// stands for CAP_BPF and CAP_PERFMON (capabilities(7): for compatibility, since 5.8).
func (c *Capability) Held() bool {
	set := cap.GetProc()
	on, err := set.GetFlag(cap.Effective, c.value)
	if err == nil && !on && c.Required {
		on, err = set.GetFlag(cap.Effective, cap.SYS_ADMIN)
	}
	return err == nil && on
}

// Missing returns those of the table that this process does not have.
func Missing() []Capability {
	var list []Capability
	for i := range Table {
		if !Table[i].Held() {
			list = append(list, Table[i])
		}
	}
	return list
}

// Lacks reports whether a capability of the table, by its name, is not in effect.
func Lacks(name string) bool {
	for i := range Table {
		if Table[i].Name == name {
			return !Table[i].Held()
		}
	}
	return true
}

// Check returns an error that wraps ErrMissing, and tells what is missing and what to do,
// when this process cannot trace.
func Check() error {
	if NestedUser() {
		return fmt.Errorf("%w: this process is in a user namespace of its own (a rootless container, or unshare -U), and what it may do "+
			"there does not count for tracing, as root either; run finwait outside of it, on the host, with sudo", ErrMissing)
	}
	var names []string
	for _, c := range Missing() {
		if c.Required {
			names = append(names, fmt.Sprintf("%s (%s)", c.Name, c.Use))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: this process lacks %s; run it with sudo, or give the program file the capabilities with setcap "+
		"cap_bpf,cap_perfmon,cap_syslog,cap_sys_ptrace,cap_sys_admin+ep; a container needs --cap-add for each, or --privileged",
		ErrMissing, strings.Join(names, " and "))
}

// NestedUser reports whether this process is in a user namespace that is not the first
// one: the first maps every id to itself. False where /proc does not tell.
func NestedUser() bool { return nestedUser("/proc/self/uid_map") }

func nestedUser(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	if !lines.Scan() {
		return lines.Err() == nil // a map that is not written yet is empty
	}
	var inside, outside, count uint64
	n, err := fmt.Sscan(lines.Text(), &inside, &outside, &count)
	return err != nil || n != 3 || inside != 0 || outside != 0 || count != 1<<32-1
}
