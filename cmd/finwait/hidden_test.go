// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	ebpflink "github.com/cilium/ebpf/link"
)

// hidesInit reports whether this host runs no tracing programs while a task of process
// 1 is current. Some hardened hosts do: a packet or a timer that interrupts such a task is
// then invisible to every tracer, and to the kernel's own count of what it skipped.
//
// It counts the returns of process 1's system calls, while the kernel's own books show
// that it runs.
var hidesInit = sync.OnceValue(func() bool {
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return false
	}
	defer counts.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{
			asm.FnGetCurrentPidTgid.Call(),
			asm.RSh.Imm(asm.R0, 32),
			asm.JNE.Imm(asm.R0, 1, "out"),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		return false
	}
	defer prog.Close()
	l, err := ebpflink.AttachRawTracepoint(ebpflink.RawTracepointOptions{Name: "sys_exit", Program: prog})
	if err != nil {
		return false
	}
	defer l.Close()
	before := switches()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); <-tick.C {
		var n uint64
		if err := counts.Lookup(uint32(0), &n); err != nil || n > 0 {
			return false
		}
		if switches() > before+2 {
			return true // it has come back from calls, and no program has seen it
		}
	}
	return false // it sleeps; whoever sleeps is not interrupted
})

// switches is how often the threads of process 1 have gone to sleep by themselves.
func switches() (total int) {
	files, _ := filepath.Glob("/proc/1/task/*/status")
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, after, ok := strings.Cut(string(raw), "voluntary_ctxt_switches:")
		if !ok {
			continue
		}
		n := 0
		for _, c := range strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]) {
			n = n*10 + int(c-'0')
		}
		total += n
	}
	return total
}

// checker is the part of testing.T that judges.
type checker interface {
	Helper()
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// mildly collects what is wrong instead of failing.
type mildly struct {
	*testing.T
	problems []string
}

func (m *mildly) Errorf(format string, args ...any) {
	m.problems = append(m.problems, fmt.Sprintf(format, args...))
}

// onceVisible runs a test of the whole trace. Where the host hides some tasks, a step may
// fall into one of them, and nobody can see it: the test then has two more tries, and says so.
func onceVisible(t *testing.T, test func(t checker)) {
	t.Helper()
	if !hidesInit() {
		test(t)
		return
	}
	for try := 1; ; try++ {
		m := &mildly{T: t}
		test(m)
		if len(m.problems) == 0 {
			return
		}
		if try == 3 {
			for _, p := range m.problems {
				t.Error(p)
			}
			return
		}
		t.Logf("try %d, on a host that hides process 1 from tracers: %s", try, strings.Join(m.problems, "\n\t"))
	}
}
