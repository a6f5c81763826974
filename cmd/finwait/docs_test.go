// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer"
)

// TestHowItKnows keeps the tables in the documentation those in the program, and what the
// tests on other kernels hold against them.
func TestHowItKnows(t *testing.T) {
	const path = "../../docs/how-it-knows.md"
	if _, err := os.Stat(path); err != nil {
		t.Skip("kernel lacks: the source tree")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := replaceTable(t, string(raw), "hooks", hookTable())
	known, err := readKernelHooks()
	if err != nil {
		t.Fatal(err)
	}
	text = replaceTable(t, text, "kernels", kernelTable(known))
	text = replaceTable(t, text, "certainty", certaintyTable(known))
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(raw), text); diff != "" {
		t.Errorf("%s (-is +should be; -update writes it):\n%s", path, diff)
	}
}

// replaceTable puts a table between its two marks.
func replaceTable(t *testing.T, text, name, table string) string {
	t.Helper()
	begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->"
	before, rest, ok1 := strings.Cut(text, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("no %q … %q", begin, end)
	}
	return before + begin + table + end + after
}

func hookTable() string {
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
	return b.String()
}

// kernelTable has a row for each hook, and in the columns which of its ways each kernel has.
func kernelTable(known kernelHooks) string {
	var b strings.Builder
	b.WriteString("| hook |")
	for _, k := range known.names() {
		fmt.Fprintf(&b, " %s |", strings.ReplaceAll(k, "-", " "))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(known)) + "\n")
	for _, h := range tracer.AllHooks() {
		fmt.Fprintf(&b, "| %s |", h.Name)
		for _, k := range known.names() {
			if way := known[k][h.Name]; way != "" {
				fmt.Fprintf(&b, " `%s` |", way)
			} else {
				b.WriteString(" – |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// certainties are the figures whose certainty depends on what a kernel lets be attached.
var certainties = []struct {
	figure string
	of     func(ways map[string]string) string
}{
	{"FIN_WAIT2 → TIME_WAIT of a closed socket, and restarts; fentry probe", withFentry("exact")},
	{"the same; timer probe", func(ways map[string]string) string {
		switch ways["time_wait_segment"] {
		case "tp_btf/kfree_skb (with socket)":
			return "exact"
		case "tp_btf/kfree_skb":
			return "at once, by the ends; `inferred` until the timer proves it"
		}
		return "`inferred`, when it ends"
	}},
	{"`reset`, `namespace_exit`, `reused_by_connect`, `expired`; either probe", func(ways map[string]string) string {
		if ways["time_wait_fentry"] != "" || ways["time_wait_segment"] != "" {
			return "exact"
		}
		return "exact, but for `reset`: `unknown`"
	}},
	{"`reused_by_syn`; fentry probe", withFentry("exact")},
	{"the same; timer probe", func(map[string]string) string { return "exact; with SYN cookies `inferred`" }},
	{"`overflow`; fentry probe", withFentry("exact")},
	{"the same; timer probe", func(map[string]string) string { return "by the table's count" }},
	{"the process that accepts through io_uring", func(ways map[string]string) string {
		switch {
		case ways["accept_io_uring"] != "", ways["accept"] == "fentry/fd_install":
			return "exact"
		}
		return "not before it closes"
	}},
}

func withFentry(certainty string) func(map[string]string) string {
	return func(ways map[string]string) string {
		if ways["time_wait_fentry"] == "" {
			return "–"
		}
		return certainty
	}
}

// certaintyTable has a row for each figure; kernels that are alike share a column.
func certaintyTable(known kernelHooks) string {
	var columns [][]string
	var heads []string
	for _, k := range known.names() {
		var column []string
		for _, c := range certainties {
			column = append(column, c.of(known[k]))
		}
		name := strings.ReplaceAll(k, "-", " ")
		if i := slices.IndexFunc(columns, func(other []string) bool { return slices.Equal(other, column) }); i >= 0 {
			heads[i] += ", " + name
			continue
		}
		columns, heads = append(columns, column), append(heads, name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| figure | %s |\n|---|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for i, c := range certainties {
		fmt.Fprintf(&b, "| %s |", c.figure)
		for _, column := range columns {
			fmt.Fprintf(&b, " %s |", column[i])
		}
		b.WriteString("\n")
	}
	return b.String()
}
