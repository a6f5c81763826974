// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// paper is text for a terminal: wrapped lines, columns that line up, colours if wanted.
type paper struct {
	b     strings.Builder
	color bool
}

const (
	reset  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
)

// width of wrapped text.
const width = 100

func (p *paper) paint(color, s string) string {
	if !p.color || s == "" {
		return s
	}
	return color + s + reset
}

func (p *paper) line(format string, args ...any) {
	fmt.Fprintf(&p.b, format, args...)
	p.b.WriteByte('\n')
}

func (p *paper) heading(s string) { p.line("\n%s", p.paint(bold, s)) }

// wrap writes words after lead, further lines as far in as lead is wide.
func (p *paper) wrap(lead, text string) {
	indent := utf8.RuneCountInString(lead)
	line, n := lead, indent
	begun := false
	for word := range strings.FieldsSeq(text) {
		w := utf8.RuneCountInString(word)
		if begun && n+1+w > width {
			p.line("%s", strings.TrimRight(line, " "))
			line, n, begun = strings.Repeat(" ", indent), indent, false
		}
		if begun {
			line, n = line+" ", n+1
		}
		line, n, begun = line+word, n+w, true
	}
	p.line("%s", strings.TrimRight(line, " "))
}

// table writes rows under headings; a heading that begins with > is of numbers.
func (p *paper) table(heads []string, rows [][]string) {
	widths := make([]int, len(heads))
	for i, h := range heads {
		widths[i] = utf8.RuneCountInString(strings.TrimPrefix(h, ">"))
		for _, r := range rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	write := func(cells []string, color string) {
		var line strings.Builder
		for i, c := range cells {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if strings.HasPrefix(heads[i], ">") {
				c = pad + c
			} else {
				c += pad
			}
			line.WriteString("  " + c)
		}
		p.line("%s", p.paint(color, strings.TrimRight(line.String(), " ")))
	}
	names := make([]string, len(heads))
	for i, h := range heads {
		names[i] = strings.TrimPrefix(h, ">")
	}
	write(names, dim)
	for _, r := range rows {
		write(r, "")
	}
}

func (p *paper) flush(w io.Writer) error {
	_, err := io.WriteString(w, p.b.String())
	return err
}
