// SPDX-License-Identifier: Apache-2.0

package tracer

// Hook is one thing that finwait wants to see in the kernel, with the ways to see
// it, best first. The table below is the one that doctor, the log, trace_start and
// the documentation print.
type Hook struct {
	Name     string // stable; users see it
	Sees     string // what it shows, for a reader who knows TCP
	Lost     string // what an operator loses without it
	Required bool   // without it, there is no trace
	Ways     []Way
}

// Way is one way to attach a hook: programs that are loaded and attached together. Hooks
// may share a program.
type Way struct {
	Name     string   // the kernel's name of the attach point
	Programs []string // names in the BPF object
	usable   func(*kernel) error
}

// HookStatus is what became of a [Hook] on this host.
type HookStatus struct {
	Hook
	Attached string  // the Way in use; empty when there is none
	Errs     []error // why the better ways, or all of them, did not work, in order
}

// Names of the hooks that other code refers to.
const (
	hookTimer   = "time_wait_timer"
	hookSegment = "time_wait_segment"
	hookFentry  = "time_wait_fentry"

	namelessDrop = "tp_btf/kfree_skb"
)

// hooks is the table. Order is the order of attaching: what is needed to understand
// an event is attached before what produces it.
func hooks(probe Probe) []Hook {
	table := []Hook{
		{
			Name: "destroy", Required: true,
			Sees: "the kernel frees a socket; the close() of a connection that an RST had already ended",
			Lost: "who finally closed a connection that was reset",
			Ways: []Way{{Name: "tp_btf/tcp_destroy_sock", Programs: []string{"on_destroy", "on_destroy_again"}}},
		},
		{
			Name: "accept",
			Sees: "a process is given a connection: accept(), a descriptor passed to it",
			Lost: "the process of a server-side connection until it closes it itself",
			Ways: []Way{
				{Name: "fentry/fd_install", Programs: []string{"on_fd_install", "on_fd_install_again"}, usable: (*kernel).fentry},
				{Name: "tp_btf/sys_exit", Programs: []string{"on_sys_exit"}},
			},
		},
		{
			Name: "connect",
			Sees: "connect() that finds its 4-tuple in use, though it has a local port of its own",
			Lost: "failed connects of sockets that were bound before; those that find no port at all are still seen",
			Ways: []Way{
				{Name: "fexit/inet_hash_connect", Programs: []string{"on_hash_connect", "on_hash_connect6"}, usable: (*kernel).fentry},
				{Name: "tp_btf/sys_exit", Programs: []string{"on_sys_exit"}},
			},
		},
		{
			Name: "accept_io_uring",
			Sees: "accept() through io_uring",
			Lost: "the process of a connection that was accepted through io_uring, until it closes it itself",
			Ways: []Way{
				{Name: "tp_btf/io_uring_complete (cqe)", Programs: []string{"on_uring_cqe"}, usable: needsArgs("io_uring_complete", 4, 4)},
				{Name: "tp_btf/io_uring_complete (res)", Programs: []string{"on_uring_res"}, usable: needsArgs("io_uring_complete", 6, 9)},
			},
		},
	}
	if probe == ProbeFentry {
		table = append(table, Hook{
			Name: hookFentry, Required: true,
			Sees: "birth, restart and end of every TIME_WAIT, with the reason, at once",
			Lost: "TIME_WAIT",
			Ways: []Way{
				{Name: "fentry/inet_twsk_* (5 arguments)", Programs: []string{"on_tw_packet_done5", "on_tw_packet", "on_tw_kill", "on_tw_schedule", "on_tw_alloc"}, usable: packetArgs(5)},
				{Name: "fentry/inet_twsk_* (4 arguments)", Programs: []string{"on_tw_packet_done4", "on_tw_packet", "on_tw_kill", "on_tw_schedule", "on_tw_alloc"}, usable: packetArgs(4)},
				{Name: "fentry/inet_twsk_* (3 arguments)", Programs: []string{"on_tw_packet_done3", "on_tw_packet", "on_tw_kill", "on_tw_schedule", "on_tw_alloc"}, usable: packetArgs(3)},
			},
		})
	} else {
		table = append(table, Hook{
			Name: hookSegment,
			Sees: "the segment that turns FIN_WAIT2 into TIME_WAIT, restarts the minute, or ends it (RST)",
			Lost: "FIN_WAIT2 → TIME_WAIT of a closed socket and restarts are shown only when TIME_WAIT ends; an end by RST is \"unknown\"",
			Ways: []Way{
				{Name: "tp_btf/kfree_skb (with socket)", Programs: []string{"on_drop", "on_drop_again"}, usable: dropArgs(5)},
				{Name: namelessDrop, Programs: []string{"on_drop_skb"}, usable: dropArgs(3)},
			},
		}, Hook{
			Name: hookTimer, Required: true,
			Sees: "birth and end of every TIME_WAIT, through the timer that is its life",
			Lost: "TIME_WAIT",
			Ways: []Way{{Name: "tp_btf/timer_start, timer_cancel", Programs: []string{"on_timer_cancel", "on_timer_start"}, usable: (*kernel).timerSymbols}},
		})
	}
	return append(table, Hook{
		Name: "state", Required: true,
		Sees: "every state change of a TCP socket, in the context of close() and shutdown()",
		Lost: "everything",
		Ways: []Way{{Name: "tp_btf/inet_sock_set_state", Programs: []string{"on_state", "on_state_again"}}},
	})
}

// seedHooks are the iterators: run once, not attached.
func seedHooks() []Hook {
	return []Hook{
		{
			Name: "existing_sockets",
			Sees: "the connections and TIME_WAITs that are older than the trace",
			Lost: "connections that are older than the trace have no owner and no start; their TIME_WAITs are not followed",
			Ways: []Way{{Name: "iter/tcp", Programs: []string{"each_tcp"}}},
		},
		{
			Name: "existing_owners",
			Sees: "which process holds each of them",
			Lost: "the process of a connection that is older than the trace, until it closes it itself",
			Ways: []Way{{Name: "iter/task_file", Programs: []string{"each_file"}}},
		},
	}
}

// AllHooks is the whole table, with the hooks of both probes, for documentation.
func AllHooks() []Hook {
	var table []Hook
	seen := map[string]bool{}
	for _, list := range [][]Hook{hooks(ProbeFentry), hooks(ProbeTimer), seedHooks()} {
		for _, h := range list {
			if !seen[h.Name] {
				seen[h.Name] = true
				table = append(table, h)
			}
		}
	}
	return table
}
