// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	jqTrace   = regexp.MustCompile(`<!-- trace: (\S+) -->`)
	jqCommand = regexp.MustCompile("(?s)```sh\n(jq [^\n]*trace\\.jsonl[^\n]*)\n```\n```\n(.*?)```\n")
)

// TestJQ runs every command of docs/jq.md on the trace that it names, and compares what
// comes out with what it says; -update writes it.
func TestJQ(t *testing.T) {
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skipf("this host lacks jq: %v", err)
	}
	path := filepath.Join("..", "..", "docs", "jq.md")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	name := jqTrace.FindStringSubmatch(text)
	if name == nil {
		t.Fatalf("%s names no trace", path)
	}
	dir := t.TempDir()
	uncompress(t, filepath.Join("..", "..", name[1]), filepath.Join(dir, "trace.jsonl"))
	questions := 0
	updated := jqCommand.ReplaceAllStringFunc(text, func(block string) string {
		m := jqCommand.FindStringSubmatch(block)
		questions++
		cmd := exec.Command("sh", "-c", m[1])
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", m[1], err, stderr.String())
		}
		if *update {
			return strings.Replace(block, "```\n```\n"+m[2], "```\n```\n"+string(out), 1)
		}
		if diff := cmp.Diff(m[2], string(out)); diff != "" {
			t.Errorf("%s\n(-docs +jq):\n%s", m[1], diff)
		}
		if len(out) == 0 {
			t.Errorf("%s: the trace has no answer", m[1])
		}
		return block
	})
	if headings := strings.Count(text, "\n### ") - 2; questions != 10 || headings != 10 {
		t.Errorf("%d commands under %d headings, want 10", questions, headings)
	}
	if *update {
		if err := os.WriteFile(path, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// uncompress writes a trace as plain JSON Lines, as replay does.
func uncompress(t *testing.T, from, to string) {
	t.Helper()
	p := newProgram(t, "replay", from, "-o", "json", "--log-level", "error").start()
	p.exits(exitDone)
	if err := os.WriteFile(to, []byte(p.out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
