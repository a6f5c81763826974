// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attachEmpty attaches programs that do nothing to tracepoints.
func attachEmpty(tracepoints ...string) (list []*ebpf.Program, detach func(), err error) {
	var links []link.Link
	detach = func() {
		for _, l := range links {
			l.Close()
		}
		for _, p := range list {
			p.Close()
		}
	}
	for _, name := range tracepoints {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "empty", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: name, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		})
		if err != nil {
			detach()
			return nil, nil, fmt.Errorf("load an empty program for %s: %w", name, err)
		}
		list = append(list, p)
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			detach()
			return nil, nil, fmt.Errorf("attach an empty program to %s: %w", name, err)
		}
		links = append(links, l)
	}
	return list, detach, nil
}

const stateTracepoint = "inet_sock_set_state"

// ownHooks are the tracepoints of finwait's timer probe, as often as it uses each.
var ownHooks = []string{
	"tcp_destroy_sock", "tcp_destroy_sock", "sys_exit", "kfree_skb", "kfree_skb",
	"timer_start", "timer_cancel", stateTracepoint, stateTracepoint,
}

// floor is the load with empty programs wherever finwait has some: what getting there costs.
func (fd *field) floor() (r figures, err error) {
	_, detach, err := attachEmpty(ownHooks...)
	if err != nil {
		return r, err
	}
	defer detach()
	return fd.free()
}

// empty measures what BPF statistics say of a program that does nothing: ns per run. It
// is the clock being read twice, and is in the time of every program as often as it runs.
func (fd *field) empty() (float64, error) {
	list, detach, err := attachEmpty(stateTracepoint)
	if err != nil {
		return 0, err
	}
	defer detach()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return 0, fmt.Errorf("turn BPF statistics on: %w", err)
	}
	defer stats.Close()
	err = within(func(a *arena) error {
		_, err := a.obey(order{Conns: fd.conns / 4})
		return err
	})
	if err != nil {
		return 0, err
	}
	s, err := list[0].Stats()
	if err != nil {
		return 0, fmt.Errorf("read the statistics of an empty program: %w", err)
	}
	return float64(s.Runtime) / float64(s.RunCount), nil
}
