// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"testing"

	"finwait/tracer"
	"finwait/tracer/ports"
	"finwait/tracer/workload"
)

// BenchmarkBudget is one look at a namespace with 20,000 TIME_WAITs, and the budgets from two.
func BenchmarkBudget(b *testing.B) {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil || os.Geteuid() != 0 {
		b.Skip("needs root and a kernel with BTF")
	}
	ctx, cancel := context.WithTimeout(b.Context(), labTime)
	defer cancel()
	lab, err := workload.New(ctx, workload.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer lab.Close()
	l, err := tracer.OpenLister("")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	made := 0
	for made < 20_000 {
		storm, err := lab.Storm(ctx, 5_000)
		if err != nil {
			b.Fatal(err)
		}
		made += int(storm.Totals().Births)
	}
	before, err := l.Look(lab.NetNS())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		now, err := l.Look(lab.NetNS())
		if err != nil || len(now.Errs) > 0 {
			b.Fatal(err, now.Errs)
		}
		ports.Budgets(before, now)
		before = now
	}
	b.ReportMetric(float64(len(before.Sockets)), "sockets")
}
