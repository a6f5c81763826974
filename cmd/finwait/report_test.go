// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"finwait/output/report"
)

const sampleTrace = "../../testdata/samples/linux-6.18-timer.jsonl"

func reportOf(t *testing.T, args ...string) *program {
	t.Helper()
	return newProgram(t, append([]string{"report"}, args...)...).start()
}

func TestReportExitStatus(t *testing.T) {
	dir := t.TempDir()
	cut := filepath.Join(dir, "cut.jsonl")
	raw, err := os.ReadFile(sampleTrace)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(raw), "\n")
	// The first ten lines of the sample have no finding in them.
	quiet := filepath.Join(dir, "quiet.jsonl")
	for name, text := range map[string]string{
		quiet: strings.Join(lines[:10], ""),
		cut:   strings.Join(lines[:10], "") + "{\"type\":\"transi\n" + lines[10],
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		args []string
		code int
		out  string
		err  string
	}{
		{[]string{sampleTrace}, exitDone, "ran out of local ports", ""},
		{[]string{sampleTrace, "--check", "critical"}, exitFinding, "ran out of local ports", "the worst is critical"},
		{[]string{sampleTrace, "--check", "info", "-o", "json"}, exitFinding, `"ports-exhausted"`, "the worst is critical"},
		{[]string{quiet, "--check", "info"}, exitDone, "No findings.", ""},
		{[]string{cut}, exitFailed, "Who closed first?", "line 11"},
		{[]string{}, exitUsage, "", "needs a file"},
		{[]string{sampleTrace, "--check", "fatal"}, exitUsage, "", "info, warning or critical"},
		{[]string{sampleTrace, "-o", "xml"}, exitUsage, "", "text, json"},
		{[]string{filepath.Join(dir, "none.jsonl")}, exitFailed, "", "no such file"},
	} {
		p := reportOf(t, test.args...)
		p.exits(test.code)
		if !strings.Contains(p.out.String(), test.out) || !strings.Contains(p.err.String(), test.err) {
			t.Errorf("report %q: want %q and %q:\n%s%s", test.args, test.out, test.err, p.out.String(), p.err.String())
		}
	}
}

func TestReportPage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "report.html")
	reportOf(t, sampleTrace, "--html", page).exits(exitDone)
	first, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(first), "<!DOCTYPE html>") || !strings.HasSuffix(strings.TrimSpace(string(first)), "</html>") {
		t.Errorf("no whole page: %d bytes", len(first))
	}
	if err := os.WriteFile(page, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := reportOf(t, sampleTrace, "--html", page)
	p.exits(exitUsage)
	if b, err := os.ReadFile(page); err != nil || string(b) != "precious" || !strings.Contains(p.err.String(), "--force") {
		t.Errorf("the page was overwritten, or nobody said how: %q %v\n%s", b, err, p.err.String())
	}
	reportOf(t, sampleTrace, "--html", page, "--force").exits(exitDone)
	if b, err := os.ReadFile(page); err != nil || string(b) != string(first) {
		t.Errorf("--force wrote %d bytes, want %d again: %v", len(b), len(first), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(page)); len(left) != 1 {
		t.Errorf("files left behind: %v", left)
	}
}

// TestReportEvidence: the command line of a finding shows the connections that it names.
func TestReportEvidence(t *testing.T) {
	p := reportOf(t, "../../testdata/recordings/kinds-linux-6.18.jsonl.zst", "-o", "json")
	p.exits(exitDone)
	var r report.Report
	if err := json.Unmarshal([]byte(p.out.String()), &r); err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, f := range r.Findings {
		if f.Replay == "" {
			continue
		}
		args := strings.Fields(f.Replay)[1:] // nothing in the sample needs quotes
		q := newProgram(t, append(args, "-o", "json")...).start()
		q.exits(exitDone)
		rows := q.out.String()
		if !strings.Contains(rows, `"type"`) {
			t.Errorf("%s: %s shows nothing", f.ID, f.Replay)
		}
		for _, x := range f.Examples {
			host, port, _ := strings.Cut(x.Local, ":")
			if !strings.Contains(rows, `"local":{"address":"`+host+`","port":`+port+`}`) {
				t.Errorf("%s: %s does not show %s", f.ID, f.Replay, x.Local)
			}
			shown++
		}
	}
	if len(r.Findings) == 0 || shown == 0 {
		t.Errorf("%d findings, %d examples: nothing was checked", len(r.Findings), shown)
	}
}
