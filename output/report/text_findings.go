// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"
	"strings"
)

func (t *text) severity(s Severity) string {
	switch s {
	case Critical:
		return red
	case Warning:
		return yellow
	case Info:
		return cyan
	}
	return green
}

func (t *text) findings() {
	t.heading("Findings")
	if len(t.Findings) == 0 {
		t.line("  None: nothing in this trace calls for a change.")
	}
	for i := range t.Findings {
		f := &t.Findings[i]
		if i > 0 {
			t.line("")
		}
		title := printable([]byte(f.Title))
		if f.Host != "" {
			title = printable([]byte(f.Host)) + ": " + title
		}
		t.line("  %s  %s  %s", t.paint(t.severity(f.Severity), strings.ToUpper(f.Severity.String())), t.paint(bold, title), t.paint(dim, "["+f.ID+"]"))
		for _, e := range f.Evidence {
			t.wrap("    - ", printable([]byte(e)))
		}
		for _, x := range f.Examples {
			note := ""
			if x.Note != "" {
				note = "  " + x.Note
			}
			t.line("      %s  %s → %s%s", x.Time.Format("15:04:05.000"), x.Local, x.Peer, note)
		}
		if i > 0 && t.Findings[i-1].ID == f.ID && slices.Equal(t.Findings[i-1].Change, f.Change) {
			t.line("    What it means, and what to do: as above.")
			t.see(f)
			continue
		}
		t.wrap("    Means   ", f.Means)
		for j, c := range f.Change {
			t.wrap([]string{"    Change  ", "            "}[min(j, 1)], c)
		}
		for j, c := range f.Not {
			t.wrap([]string{"    Do not  ", "            "}[min(j, 1)], strings.TrimPrefix(c, "Do not "))
		}
		t.see(f)
	}
}

func (t *text) see(f *Finding) {
	if f.Replay != "" {
		t.line("    See     %s", t.paint(cyan, f.Replay))
	}
}
