// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer"
)

// TestHowItKnows keeps the table in the documentation the table in the program.
func TestHowItKnows(t *testing.T) {
	const path, begin, end = "../../docs/how-it-knows.md", "<!-- hooks -->\n", "<!-- /hooks -->"
	if _, err := os.Stat(path); err != nil {
		t.Skip("kernel lacks: the source tree")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(raw), begin)
	is, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %q … %q", path, begin, end)
	}
	var b strings.Builder
	b.WriteString("| hook | shows | lost without it | ways, best first |\n|---|---|---|---|\n")
	for _, h := range tracer.AllHooks() {
		var ways []string
		for _, w := range h.Ways {
			ways = append(ways, "`"+w.Name+"`")
		}
		lost := h.Lost
		if h.Required {
			lost += " (so there is no trace without it)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", h.Name, h.Sees, lost, strings.Join(ways, ", "))
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(is, b.String()); diff != "" {
		t.Errorf("%s (-is +should be; -update writes it):\n%s", path, diff)
	}
}
