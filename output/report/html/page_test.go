// SPDX-License-Identifier: Apache-2.0

package html

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"finwait/output/report"
)

// incident is the report that package report's tests keep as a golden.
func incident(t testing.TB) *report.Report {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "report", "incident.json.golden"))
	if err != nil {
		t.Fatal(err)
	}
	r := new(report.Report)
	if err := json.Unmarshal(b, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t testing.TB, r *report.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPageHasEverything(t *testing.T) {
	r := incident(t)
	page := write(t, r)
	for _, f := range r.Findings {
		if !strings.Contains(page, `id="`+f.ID+`"`) {
			t.Errorf("the page lacks the finding %s", f.ID)
		}
	}
	for _, title := range []string{"TIME_WAITs alive on web-1", "Local ports in use, from 10.0.0.4 to 10.0.3.7:8080", "Who closed first", "How long TIME_WAIT lasted on web-1"} {
		if !strings.Contains(page, "<figcaption>"+title) {
			t.Errorf("the page lacks the plot %q", title)
		}
	}
	if n := strings.Count(page, "<svg"); n < 8 {
		t.Errorf("%d drawings, want at least four, each in two sizes", n)
	}
	if rows := strings.Count(page[strings.Index(page, `id="worst"`):], "<tr><td>"); rows != len(r.Worst) {
		t.Errorf("%d of the worst connections, want %d", rows, len(r.Worst))
	}
}

// TestSelfContained: nothing on the page refers to anything outside it.
func TestSelfContained(t *testing.T) {
	page := write(t, incident(t))
	for _, what := range []string{`(?i)\bsrc\s*=`, `(?i)<link\b`, `(?i)@import`, `(?i)url\(`, `(?i)<(iframe|object|embed)\b`} {
		if m := regexp.MustCompile(what).FindString(page); m != "" {
			t.Errorf("the page has %q", m)
		}
	}
	for _, m := range regexp.MustCompile(`https?://[^"' <]+`).FindAllString(page, -1) {
		if m != "http://www.w3.org/2000/svg" && m != "http://www.w3.org/1999/xlink" {
			t.Errorf("the page names %s", m)
		}
	}
	if m := regexp.MustCompile(`(fill|stroke):\s*#`).FindString(page); m != "" {
		t.Errorf("a drawing has a colour that the style sheet does not know: %q", m)
	}
}

// TestUntrusted: what comes from a trace never becomes markup.
func TestUntrusted(t *testing.T) {
	const bad = `"><script>alert(1)</script><svg onload=alert(2)>&`
	r := incident(t)
	r.Trace.Files[0].Name, r.Trace.Files[0].Host, r.Trace.Files[0].Kernel = bad, bad, bad
	r.Trace.Files[0].Missing = []string{bad}
	for i := range r.Closers {
		r.Closers[i].Process.Comm, r.Closers[i].Process.Container, r.Closers[i].Host, r.Closers[i].Peer = bad, bad, bad, bad
	}
	for i := range r.Ports {
		r.Ports[i].Host, r.Ports[i].Process.Comm, r.Ports[i].Peer, r.Ports[i].Local = bad, bad, bad, bad
	}
	for i := range r.Worst {
		r.Worst[i].Process.Comm, r.Worst[i].Why, r.Worst[i].Host = bad, bad, bad
	}
	for i := range r.Findings {
		r.Findings[i].Title, r.Findings[i].Replay, r.Findings[i].Host = bad, bad, bad
		r.Findings[i].Evidence = append(r.Findings[i].Evidence, bad)
	}
	for i := range r.TimeWait {
		r.TimeWait[i].Host = bad
	}
	page := write(t, r)
	for _, what := range []string{"<script>alert", "<svg onload"} {
		if i := strings.Index(page, what); i >= 0 {
			t.Errorf("%q became markup: …%s…", what, page[max(0, i-80):i+40])
		}
	}
	if n := strings.Count(page, "<script>"); n != 1 {
		t.Errorf("%d scripts, want the page's own", n)
	}
}

// TestEmpty: a trace in which nothing happened makes a page too.
func TestEmpty(t *testing.T) {
	page := write(t, report.New(report.Options{}).Report())
	if !strings.Contains(page, "None: nothing in this trace calls for a change.") {
		t.Error("the page does not say that there is nothing to say")
	}
}
