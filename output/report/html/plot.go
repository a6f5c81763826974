// SPDX-License-Identifier: Apache-2.0

package html

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"regexp"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"finwait/output/report"
)

// The plots are drawn in colours that stand for roles; the page's style sheet says what
// they are in the light and in the dark.
var (
	ink    = color.RGBA{1, 0, 0, 255}
	faint  = color.RGBA{2, 0, 0, 255}
	local  = color.RGBA{3, 0, 0, 255}
	peer   = color.RGBA{4, 0, 0, 255}
	both   = color.RGBA{5, 0, 0, 255}
	kernel = color.RGBA{6, 0, 0, 255}
	limit  = color.RGBA{7, 0, 0, 255}

	localArea = color.RGBA{8, 0, 0, 255}
	peerArea  = color.RGBA{9, 0, 0, 255}
)

var roles = map[string]string{
	"#010000": "var(--ink)", "#020000": "var(--faint)", "#030000": "var(--local)", "#040000": "var(--peer)",
	"#050000": "var(--both)", "#060000": "var(--kernel)", "#070000": "var(--limit)",
	"#080000": "var(--local-area)", "#090000": "var(--peer-area)",
}

// size is of a drawing, in CSS pixels. Each plot is drawn for a desk and for a phone:
// one that is scaled down cannot be read.
type size struct {
	width, height float64
	narrow        bool
}

// drawing is a plot in both sizes.
type drawing struct {
	Title  string
	Keys   []key
	Wide   template.HTML
	Narrow template.HTML
}

// key says what a colour stands for. The page writes them: there they wrap and scale.
type key struct{ Class, Text string }

func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil // the page's
	text := font.Length(12)
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Color, a.Label.TextStyle.Color, a.Tick.Color, a.Tick.Label.Color = faint, ink, faint, ink
		a.Tick.Label.Font.Size, a.Label.TextStyle.Font.Size = text, text
		a.Tick.Label.Font.Variant, a.Label.TextStyle.Font.Variant = "Sans", "Sans"
		a.LineStyle.Width, a.Tick.LineStyle.Width = 1, 1
	}
	return p
}

// render draws p and puts the style sheet's names where the roles' colours are.
func render(p *plot.Plot, s size) (template.HTML, error) {
	// Points are CSS pixels here: the page scales nothing.
	c := vgsvg.NewWith(vgsvg.UseWH(vg.Length(s.width), vg.Length(s.height)))
	p.Draw(draw.Crop(draw.New(c), 4, -28, 4, -8)) // room for half of the last label
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return "", fmt.Errorf("draw plot: %w", err)
	}
	svg := b.String()
	if i := strings.Index(svg, "<svg"); i > 0 {
		svg = svg[i:]
	}
	svg = inPoints.ReplaceAllString(svg, `$1="$2"`)
	svg = comments.ReplaceAllString(svg, "")
	svg = hex.ReplaceAllStringFunc(svg, func(h string) string {
		if v, ok := roles[strings.ToLower(h)]; ok {
			return v
		}
		return h
	})
	// The library escapes text; colours and sizes are this file's own.
	return template.HTML(svg), nil
}

var (
	hex      = regexp.MustCompile(`#[0-9a-fA-F]{6}\b`)
	inPoints = regexp.MustCompile(`\b(width|height)="([0-9.]+)pt"`)
	comments = regexp.MustCompile(`(?s)<!--.*?-->`)
)

// drawTwice draws a plot for a desk and for a phone.
func drawTwice(title string, height float64, fn func(size) (*plot.Plot, error)) (*drawing, error) {
	d := &drawing{Title: title}
	for _, s := range []size{{width: 820, height: height}, {width: 350, height: height, narrow: true}} {
		p, err := fn(s)
		if err != nil {
			return nil, err
		}
		svg, err := render(p, s)
		if err != nil {
			return nil, err
		}
		if s.narrow {
			d.Narrow = svg
		} else {
			d.Wide = svg
		}
	}
	return d, nil
}

func points(t *report.Timeline) plotter.XYs {
	xys := make(plotter.XYs, len(t.Values))
	for i, v := range t.Values {
		// A value is of the end of its step.
		xys[i] = plotter.XY{X: float64(t.From.Add(time.Duration(i+1)*t.Step).UnixNano()) / 1e9, Y: float64(v)}
	}
	return xys
}

func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e6), ".0") + "M"
	case v >= 10_000:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e3), ".0") + "k"
	}
	return fmt.Sprintf("%.0f", v)
}

// whole ticks at some four round numbers.
type whole struct{}

func (whole) Ticks(_, high float64) (out []plot.Tick) {
	step := 1.0
	for i := 0; step*5 < high; i++ {
		step *= []float64{2, 2.5, 2}[i%3] // 1, 2, 5, 10
	}
	for v := 0.0; v <= high; v += step {
		out = append(out, plot.Tick{Value: v, Label: thousands(v)})
	}
	return out
}

// clock ticks at round times of day, UTC.
type clock struct{ most int }

func (c clock) Ticks(low, high float64) (out []plot.Tick) {
	steps := []float64{1, 5, 10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if (high-low)/s <= float64(c.most) {
			step = s
			break
		}
	}
	layout := "15:04:05"
	switch {
	case step >= 86400:
		layout = "Jan 2"
	case step >= 60:
		layout = "15:04"
	}
	for x := float64(int64(low/step)) * step; x <= high; x += step {
		if x >= low {
			out = append(out, plot.Tick{Value: x, Label: time.Unix(int64(x), 0).UTC().Format(layout)})
		}
	}
	return out
}
