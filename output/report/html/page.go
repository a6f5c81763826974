// SPDX-License-Identifier: Apache-2.0

package html

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"finwait/output/report"
)

//go:embed page.tmpl
var pageText string

//go:embed style.css
var style string

//go:embed search.js
var script string

// page is what the template gets.
type page struct {
	*report.Report
	Policy   string
	Style    template.CSS
	Script   template.JS
	Plots    []*drawing // TIME_WAITs and ports over time
	Bars     *drawing
	Lengths  []*drawing
	Closers  []report.Closers
	Budgets  []report.Ports
	Hosts    bool
	Severity string
}

// rows of the tables on the page; the JSON has all of them.
const rows = 50

// Write writes r as a page.
func Write(w io.Writer, r *report.Report) error {
	hash := sha256.Sum256([]byte(script))
	p := page{
		Report: r, Style: template.CSS(style), Script: template.JS(script),
		// Nothing may be fetched, and no script may run but this one.
		Policy: "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src 'sha256-" +
			base64.StdEncoding.EncodeToString(hash[:]) + "'",
		Closers: r.Closers[:min(len(r.Closers), rows)], Hosts: len(r.TimeWait) > 1, Severity: r.WorstSeverity().String(),
	}
	for _, b := range r.Ports {
		if len(p.Budgets) < rows && (b.Failed > 0 || b.Taken > 1) {
			p.Budgets = append(p.Budgets, b)
		}
	}
	if err := p.draw(); err != nil {
		return err
	}
	t, err := template.New("page").Funcs(template.FuncMap{
		"count": number, "span": report.Span, "percent": share, "methods": report.Methods, "date": date, "clock": timeOfDay,
		"spaces": func(s string) string { return strings.ReplaceAll(s, "_", " ") },
		"fixed":  func(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("parse page: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, &p); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	if _, err := io.WriteString(w, harmless(b.String())); err != nil {
		return fmt.Errorf("write page: %w", err)
	}
	return nil
}

// harmless takes out what the template does not: characters that turn the direction of
// writing, and those that a terminal would act on when somebody looks at the file there.
func harmless(page string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
			return '?'
		}
		return r
	}, page)
}

func (p *page) draw() (err error) {
	add := func(list *[]*drawing, d *drawing, e error) {
		if e != nil {
			err = e
		} else if d != nil {
			*list = append(*list, d)
		}
	}
	for i := range p.TimeWait {
		d, e := usage(&p.TimeWait[i])
		add(&p.Plots, d, e)
	}
	drawn := 0
	for i := range p.Ports {
		b := &p.Ports[i]
		if b.Timeline == nil || drawn == busyBudgets || drawn > 0 && b.Failed == 0 && b.PeakShare() < busyShare {
			continue
		}
		drawn++
		d, e := budget(b)
		add(&p.Plots, d, e)
	}
	for i := range p.TimeWait {
		d, e := lengths(&p.TimeWait[i])
		add(&p.Lengths, d, e)
	}
	if err != nil {
		return err
	}
	p.Bars, err = bars(p.Report.Closers)
	return err
}

// number writes any whole number of a report.
func number(n any) (string, error) {
	switch n := n.(type) {
	case int:
		return report.Count(n), nil
	case int64:
		return report.Count(n), nil
	case uint64:
		return report.Count(n), nil
	}
	return "", fmt.Errorf("%T is no number", n)
}

func share(part, all uint64) string { return report.Percent(float64(part), float64(all)) }

func date(t time.Time) string { return t.Format(time.DateTime) + " UTC" }

func timeOfDay(t time.Time) string { return t.Format("15:04:05.000") }
