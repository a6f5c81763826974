// SPDX-License-Identifier: Apache-2.0

package privilege

import (
	"strings"

	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Capability is one that finwait uses.
type Capability struct {
	Name     string // as capabilities(7) spells it
	Use      string // what it is used for
	Cost     string // what is lost without it
	Required bool   // without it there is no trace; CAP_SYS_ADMIN stands for it, too
	Harmless bool   // without it, nothing is missing from the trace that there is
	// Later is what it would be good for after the start, when it has been given up; empty
	// if nothing.
	Later string
	value cap.Value
}

// Table is every capability that finwait uses. CAP_NET_ADMIN is not among them: programs
// that trace do not need it. No other one changes what finwait sees.
var Table = []Capability{
	{
		Name: "CAP_BPF", Required: true, value: cap.BPF,
		Use:   "load BPF programs and maps",
		Cost:  "there is no trace",
		Later: "read the counters of what was lost, on kernels before 5.19 where kernel.unprivileged_bpf_disabled is not 0",
	},
	{
		Name: "CAP_PERFMON", Required: true, value: cap.PERFMON,
		Use:  "attach them to tracepoints and read kernel memory",
		Cost: "there is no trace",
	},
	{
		Name: "CAP_SYSLOG", Harmless: true, value: cap.SYSLOG,
		Use:  "find tw_timer_handler in /proc/kallsyms (the timer probe needs it)",
		Cost: "where fentry is refused there is no trace; elsewhere nothing",
	},
	{
		Name: "CAP_SYS_ADMIN", value: cap.SYS_ADMIN,
		Use:   "enter other network namespaces to list what already exists there",
		Cost:  "connections in other network namespaces that are older than the trace have no owner and no start; there, the kernel's own counters and settings are not in the trace",
		Later: "list other network namespaces anew after a loss; read the kernel's counters at the end in those that no process is in",
	},
	{
		Name: "CAP_SYS_PTRACE", value: cap.SYS_PTRACE,
		Use:   "read the program file and network namespace of other users' processes",
		Cost:  "records lack exe; network namespaces that only other users' processes are in are not listed at the start",
		Later: "read the program file (exe) of processes that start after the trace began",
	},
	{
		Name: "CAP_DAC_READ_SEARCH", Harmless: true, value: cap.DAC_READ_SEARCH,
		Use:   "open a cgroup by its id to learn its name",
		Cost:  "nothing is missing; the name is searched for in the tree of cgroups, once for each",
		Later: "name new cgroups without a search",
	},
	{
		Name: "CAP_SYS_RESOURCE", Harmless: true, value: cap.SYS_RESOURCE,
		Use:  "raise RLIMIT_MEMLOCK on kernels before 5.11, which charge BPF maps to it",
		Cost: "nothing since 5.11; before, there is no trace unless the limit is high enough already",
	},
	{
		Name: "CAP_SETPCAP", Harmless: true, value: cap.SETPCAP,
		Use:  "empty the bounding set when the others are given up",
		Cost: "nothing is missing; the bounding set stays, which no_new_privs makes useless",
	},
}

// parse finds a capability by its name, in any case, with CAP_ in front or without.
func parse(name string) (cap.Value, bool) {
	name = strings.ToLower(name)
	if !strings.HasPrefix(name, "cap_") {
		name = "cap_" + name
	}
	v, err := cap.FromName(name)
	return v, err == nil
}
