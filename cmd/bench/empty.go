// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// empty measures what BPF statistics say of a program that does nothing: ns per run. It
// is the clock being read twice, and is in the time of every program as often as it runs.
func (fd *field) empty() (float64, error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "empty", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceRawTp, AttachTo: "inet_sock_set_state", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return 0, fmt.Errorf("load an empty program: %w", err)
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return 0, fmt.Errorf("attach an empty program: %w", err)
	}
	defer l.Close()
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
	s, err := p.Stats()
	if err != nil {
		return 0, fmt.Errorf("read the statistics of an empty program: %w", err)
	}
	return float64(s.Runtime) / float64(s.RunCount), nil
}
