// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

const pages = "../../../docs/cases"

// page is docs/cases/NAME.md in the making: testdata/NAME.md is its text, in which
// {{show "NAME"}} is a block, and {{figure "NAME"}} a number, of this run.
type page struct {
	*network
	name    string
	blocks  map[string]string
	figures map[string]string
	used    map[string]bool
}

func (n *network) page(name string) *page {
	return &page{network: n, name: name, blocks: map[string]string{}, figures: map[string]string{}, used: map[string]bool{}}
}

// show adds a command, and the lines of its output that one of the trims keeps, to a block; without
// trims, all of them.
func (p *page) show(block string, s shown, trims ...trim) {
	p.t.Helper()
	var b strings.Builder
	if p.blocks[block] != "" {
		b.WriteString("\n")
	}
	for i, line := range strings.Split(p.plain(s.line), "\n") {
		fmt.Fprintf(&b, "%s%s\n", []string{s.host.name + "# ", ""}[min(i, 1)], line)
	}
	lines := strings.Split(strings.TrimRight(p.plain(s.out), "\n"), "\n")
	keep := make([]bool, len(lines))
	for _, t := range trims {
		for i, k := range t(lines) {
			keep[i] = keep[i] || k
		}
	}
	// What is left out between two lines that stay is shown by dots, or is empty.
	gap, begun := "", false
	for i, line := range lines {
		line = strings.TrimRight(line, " ")
		if len(trims) > 0 && !keep[i] {
			if line != "" {
				gap = "…\n"
			} else if gap == "" {
				gap = "\n"
			}
			continue
		}
		if begun {
			b.WriteString(gap)
		}
		gap, begun = "", true
		if s.out != "" {
			b.WriteString(line + "\n")
		}
	}
	if len(trims) > 0 && !slices.Contains(keep, true) {
		p.t.Errorf("%s# %s: nothing is left to show in %s of\n%s", s.host.name, s.line, block, s.out)
	}
	if old := p.blocks[block]; old != "" {
		p.blocks[block] = strings.TrimSuffix(old, "```\n") + b.String() + "```\n"
		return
	}
	p.blocks[block] = "```console\n" + b.String() + "```\n"
}

// file makes a block of what the servers were given.
func (p *page) file(block, language, text string) {
	p.blocks[block] = "```" + language + "\n" + strings.TrimRight(p.plain(text), "\n") + "\n```\n"
}

// figure is a number for the text.
func (p *page) figure(name string, value any) { p.figures[name] = fmt.Sprint(value) }

// finish makes the page, and compares it with the one in docs/cases, or writes that.
func (p *page) finish() {
	p.t.Helper()
	got := p.render()
	path := filepath.Join(pages, p.name+".md")
	if *update {
		if p.t.Failed() {
			p.t.Fatalf("%s is not written: what it says does not hold", path)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if diff := cmp.Diff(mask(string(raw)), mask(got)); diff != "" {
		p.t.Errorf("%s is not what this run shows (-page +run; -update writes it):\n%s", path, diff)
	}
}

func (p *page) render() string {
	p.t.Helper()
	lookup := func(kind string, from map[string]string) func(string) (string, error) {
		return func(name string) (string, error) {
			p.used[kind+name] = true
			if from[name] == "" {
				return "", fmt.Errorf("the test has made no %s %q", kind, name)
			}
			return strings.TrimSuffix(from[name], "\n"), nil
		}
	}
	source := filepath.Join("testdata", p.name+".md")
	t, err := template.New(p.name + ".md").Funcs(template.FuncMap{
		"show": lookup("block", p.blocks), "figure": lookup("figure", p.figures),
	}).ParseFiles(source)
	if err != nil {
		p.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, nil); err != nil {
		p.t.Fatal(err)
	}
	for kind, from := range map[string]map[string]string{"block": p.blocks, "figure": p.figures} {
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if !p.used[kind+name] {
				p.t.Errorf("%s does not use the %s %q", source, kind, name)
			}
		}
	}
	return b.String()
}

// summary is the title and the first paragraph of a page.
func summary(t *testing.T, path string) (title, first string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(string(raw), "\n\n", 3)
	title, ok := strings.CutPrefix(parts[0], "# ")
	if !ok || len(parts) < 3 || strings.Contains(parts[1], "{{") {
		t.Fatalf("%s does not begin with a title and a paragraph without figures", path)
	}
	return title, strings.ReplaceAll(parts[1], "\n", " ")
}

// TestIndex makes docs/cases/README.md, and sees that every page is there and none is left over.
func TestIndex(t *testing.T) {
	var names []string
	for _, dir := range []string{"testdata", pages} {
		list, err := filepath.Glob(filepath.Join(dir, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i] = filepath.Base(list[i])
		}
		list = slices.DeleteFunc(list, func(name string) bool { return name == "README.md" })
		if dir == pages && !slices.Equal(list, names) {
			t.Errorf("%s has %v, and their sources are %v", dir, list, names)
		}
		names = list
	}
	var b strings.Builder
	for _, name := range names {
		title, first := summary(t, filepath.Join("testdata", name))
		fmt.Fprintf(&b, "* **[%s](%s)**: %s\n", title, name, first)
	}
	raw, err := os.ReadFile(filepath.Join("testdata", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Replace(string(raw), "{{pages}}\n", b.String(), 1)
	path := filepath.Join(pages, "README.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(raw), got); diff != "" {
		t.Errorf("%s (-is +should be; -update writes it):\n%s", path, diff)
	}
}
