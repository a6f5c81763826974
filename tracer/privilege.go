// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrPrivilege is returned when the process lacks a capability that tracing needs.
// ErrKernel is returned when this kernel, or its policy, cannot carry a trace.
var (
	ErrPrivilege = errors.New("not permitted")
	ErrKernel    = errors.New("this kernel cannot be traced")

	errRefused = errors.New("EPERM")
)

func isPrivilege(err error) bool { return errors.Is(err, unix.EPERM) }

type capability struct {
	bit  uint
	name string
	use  string
}

// Capabilities that tracing needs. CAP_SYS_ADMIN stands for the first two on kernels before 5.8.
var required = []capability{
	{unix.CAP_BPF, "CAP_BPF", "load BPF programs and maps"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "attach them to tracepoints and read kernel memory"},
}

// Capabilities without which something is missing, but the trace works.
var useful = []capability{
	{unix.CAP_SYSLOG, "CAP_SYSLOG", "find tw_timer_handler in /proc/kallsyms (the timer probe needs it)"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter other network namespaces to list what already exists there"},
	{unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "read the program file and network namespace of other users' processes"},
}

func effective() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

func has(set uint64, bit uint) bool { return set>>bit&1 == 1 }

// CheckPrivilege returns ErrPrivilege, with the names of what is missing, when this
// process cannot trace, and the sentences that tell what is lost where it could do with more.
func CheckPrivilege() (lacks []string, err error) {
	set, err := effective()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, c := range required {
		if !has(set, c.bit) && !has(set, unix.CAP_SYS_ADMIN) {
			missing = append(missing, fmt.Sprintf("%s (%s)", c.name, c.use))
		}
	}
	for _, c := range useful {
		if !has(set, c.bit) {
			lacks = append(lacks, fmt.Sprintf("%s: %s", c.name, c.use))
		}
	}
	if len(missing) > 0 {
		return lacks, fmt.Errorf("%w: this process lacks %s; run it with sudo, or give the program file the capabilities with setcap cap_bpf,cap_perfmon,cap_syslog,cap_sys_ptrace,cap_sys_admin+ep", ErrPrivilege, strings.Join(missing, " and "))
	}
	return lacks, nil
}
