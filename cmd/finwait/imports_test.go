// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports keeps the rooms apart: who may import whom, and who must stay free of what.
func TestImports(t *testing.T) {
	gobin, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("kernel lacks: a Go toolchain: %v", err)
	}
	list, err := exec.Command(gobin, "list", "-f", "{{.ImportPath}}: {{join .Imports \" \"}}", "finwait/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	// What each package may import of finwait's own, and which libraries only it may use.
	allowed := map[string][]string{
		"finwait/bpf":                {},
		"finwait/tracer/event":       {},
		"finwait/tracer/flow":        {"finwait/tracer/event"},
		"finwait/tracer/proc":        {"finwait/tracer/event"},
		"finwait/tracer/thread":      {},
		"finwait/tracer/ports":       {"finwait/tracer/event"},
		"finwait/tracer/privilege":   {},
		"finwait/tracer":             {"finwait/bpf", "finwait/tracer/event", "finwait/tracer/privilege", "finwait/tracer/thread"},
		"finwait/tracer/workload":    {"finwait/tracer/thread"},
		"finwait/output/filter":      {"finwait/tracer/event"},
		"finwait/output/jsonl":       {"finwait/tracer/event"},
		"finwait/output/report":      {"finwait/tracer/event", "finwait/tracer/ports"},
		"finwait/output/report/html": {"finwait/output/report"},
		"finwait/output/table":       {"finwait/tracer/event"},
		"finwait/output/trace":       {"finwait/output/jsonl", "finwait/tracer/event"},
	}
	only := map[string][]string{
		"github.com/cilium/ebpf":     {"finwait/bpf", "finwait/cmd/bench", "finwait/tracer"},
		"kernel.org/":                {"finwait/tracer/privilege"},
		"github.com/klauspost/":      {"finwait/output/trace"},
		"github.com/HdrHistogram/":   {"finwait/output/report"},
		"gonum.org/":                 {"finwait/output/report/html"},
		"github.com/rs/zerolog":      {"finwait/cmd/finwait"},
		"github.com/spf13/":          {"finwait/cmd/finwait"},
		"github.com/vishvananda/net": {"finwait/cmd/bench", "finwait/tracer", "finwait/tracer/workload"},
	}
	standardOnly := []string{"finwait/tracer/event", "finwait/tracer/flow", "finwait/tracer/ports", "finwait/output/filter", "finwait/output/jsonl", "finwait/output/table"}
	seen := 0
	for line := range strings.Lines(string(list)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ": ")
		seen++
		for _, imp := range strings.Fields(imports) {
			may, ruled := allowed[pkg]
			if strings.HasPrefix(imp, "finwait/") && ruled && !slices.Contains(may, imp) {
				t.Errorf("%s imports %s", pkg, imp)
			}
			for lib, users := range only {
				if strings.HasPrefix(imp, lib) && !slices.Contains(users, pkg) {
					t.Errorf("%s imports %s; only %v may", pkg, imp, users)
				}
			}
			if slices.Contains(standardOnly, pkg) && strings.Contains(strings.Split(imp, "/")[0], ".") {
				t.Errorf("%s imports %s; it is to use the standard library only", pkg, imp)
			}
		}
		if _, ruled := allowed[pkg]; !ruled && !strings.HasPrefix(pkg, "finwait/cmd/") {
			t.Errorf("%s has no import rule", pkg)
		}
	}
	if seen < len(allowed) {
		t.Errorf("saw %d packages, want at least %d", seen, len(allowed))
	}
}
