// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/workload"
)

// hooksFile says for the kernels that Debian builds in which way each hook is attached there.
// The table in docs/how-it-knows.md is made of it.
const hooksFile = "../../testdata/kernels/hooks.json"

// kernelHooks has, for each kernel, the way of each hook; a hook that cannot be is missing.
type kernelHooks map[string]map[string]string

func readKernelHooks() (kernelHooks, error) {
	raw, err := os.ReadFile(hooksFile)
	if err != nil {
		return nil, err
	}
	var k kernelHooks
	return k, json.Unmarshal(raw, &k)
}

// names lists the kernels, oldest first, other architectures last.
func (k kernelHooks) names() []string {
	return slices.SortedFunc(maps.Keys(k), func(a, b string) int {
		return cmp.Or(strings.Compare(arch(a), arch(b)), slices.Compare(series(a), series(b)))
	})
}

// of is what to expect of a kernel: what is said of its series, or else of the newest one before it.
func (k kernelHooks) of(name string) map[string]string {
	var best map[string]string
	for _, n := range k.names() {
		if arch(n) == arch(name) && slices.Compare(series(n), series(name)) <= 0 {
			best = k[n]
		}
	}
	return best
}

func arch(kernel string) string {
	_, a, _ := strings.Cut(kernel, "-")
	return a
}

func series(kernel string) []int {
	var major, minor int
	fmt.Sscanf(kernel, "%d.%d", &major, &minor)
	return []int{major, minor}
}

// thisKernel is this kernel's name in the file: 6.12, or 6.12-arm64.
func thisKernel(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	n := series(unix.ByteSliceToString(u.Release[:]))
	name := fmt.Sprintf("%d.%d", n[0], n[1])
	if runtime.GOARCH != "amd64" {
		name += "-" + runtime.GOARCH
	}
	return name
}

// TestFeatureHooks: every hook is attached in the best way that the kernel has, and every
// program has run once all kinds of close have been made. A function that the compiler has
// inlined can be attached to, and is never called.
func TestFeatureHooks(t *testing.T) {
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	known, err := readKernelHooks()
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]string{}
	for _, probe := range probes(t) {
		t.Run(probe.String(), func(t *testing.T) {
			lab, ctx := newLab(t, workload.Options{FinTimeout: 2 * time.Second})
			r := traceLab(t, ctx, lab, tracer.Options{Probe: probe})
			for _, h := range r.tracer.Hooks() {
				switch {
				case h.Attached != "":
					ways[h.Name] = h.Attached
				case h.Required:
					t.Errorf("hook %s: %v", h.Name, errors.Join(h.Errs...))
				}
			}
			for _, kind := range workload.Kinds() {
				if _, err := lab.Run(ctx, kind); err != nil && !errors.Is(err, errors.ErrUnsupported) {
					t.Fatal(err)
				}
			}
			r.settled(nil)
			c, err := r.tracer.Counters()
			if err != nil {
				t.Fatal(err)
			}
			for name, n := range c.Ran {
				// TestOwnerUring is about io_uring.
				if n == 0 && !strings.HasPrefix(name, "on_uring") {
					t.Errorf("program %s is attached and has never run", name)
				}
			}
			t.Logf("runs: %v", c.Ran)
		})
	}
	if os.Getenv("FINWAIT_EMULATOR") == "" {
		return // what this host's policy allows is its own affair
	}
	name := thisKernel(t)
	if want := known.of(name); !maps.Equal(want, ways) {
		raw, _ := json.Marshal(ways)
		t.Errorf("attached as\n%q: %s\nwant %v", name, raw, want)
	}
}
