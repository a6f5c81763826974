// SPDX-License-Identifier: Apache-2.0

package html

import (
	"fmt"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"finwait/output/report"
)

// busyBudgets is how many port budgets get a plot.
const busyBudgets = 3

// usage draws a host's TIME_WAITs alive; nil when there is nothing to draw.
func usage(w *report.TimeWait) (*drawing, error) {
	if w.Timeline == nil || w.Peak == 0 {
		return nil, nil
	}
	title := "TIME_WAITs alive"
	if w.Host != "" {
		title += " on " + w.Host
	}
	return drawTwice(title, size{width: 760, height: 250}, size{width: 350, height: 230, narrow: true}, func(s size) (*plot.Plot, error) {
		p := timePlot(s)
		return p, area(p, points(w.Timeline), local, "TIME_WAIT, all peers")
	})
}

// budget draws the ports in use towards one peer, against the range.
func budget(b *report.Ports) (*drawing, error) {
	title := fmt.Sprintf("Local ports in use, from %s to %s", b.Local, b.Peer)
	if b.Host != "" {
		title += ", on " + b.Host
	}
	return drawTwice(title, size{width: 760, height: 250}, size{width: 350, height: 230, narrow: true}, func(s size) (*plot.Plot, error) {
		p := timePlot(s)
		xys := points(b.Timeline)
		if err := area(p, xys, peer, "in use, TIME_WAIT included"); err != nil {
			return nil, err
		}
		if b.Capacity == 0 {
			return p, nil
		}
		first, last := xys[0].X, xys[len(xys)-1].X
		line, err := plotter.NewLine(plotter.XYs{{X: first, Y: float64(b.Capacity)}, {X: last, Y: float64(b.Capacity)}})
		if err != nil {
			return nil, fmt.Errorf("draw port range: %w", err)
		}
		line.Color, line.Width, line.Dashes = limit, 2, []vg.Length{6, 4}
		p.Add(line)
		p.Legend.Add(fmt.Sprintf("all of the range: %s", report.Count(b.Capacity)), line)
		p.Y.Max = float64(b.Capacity) * 1.05
		return p, nil
	})
}

func timePlot(s size) *plot.Plot {
	p := newPlot(s)
	most := 8
	if s.narrow {
		most = 4
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = clock{most}, whole{6}
	p.Y.Min = 0
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, nil
	grid.Horizontal.Width = 0.5
	p.Add(grid)
	return p
}

func area(p *plot.Plot, xys plotter.XYs, c color.Color, name string) error {
	line, err := plotter.NewLine(xys)
	if err != nil {
		return fmt.Errorf("draw %s: %w", name, err)
	}
	line.Color, line.Width = c, 2
	line.StepStyle = plotter.PreStep
	r, g, b, _ := c.RGBA()
	line.FillColor = color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 60}
	p.Add(line)
	p.Legend.Add(name, line)
	p.Y.Min = 0
	return nil
}

var closerColors = []struct {
	name, legend string
	color        color.Color
}{{"local", "by us", local}, {"peer", "by the peer", peer}, {"both", "both at once", both}, {"kernel", "by the kernel", kernel}}

// barRows is how many rows of the table of closers get a bar.
const barRows = 8

// bars draws who closed first; nil when nobody did.
func bars(rows []report.Closers) (*drawing, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	rows = slices.Clone(rows[:min(len(rows), barRows)])
	slices.Reverse(rows) // the first one on top
	height := float64(70 + 34*len(rows))
	return drawTwice("Who closed first", size{width: 760, height: height}, size{width: 350, height: height + 20, narrow: true}, func(s size) (*plot.Plot, error) {
		p := newPlot(s)
		names := make([]string, len(rows))
		for i := range rows {
			names[i] = rowName(&rows[i], s.narrow)
		}
		var below *plotter.BarChart
		for _, c := range closerColors {
			values := make(plotter.Values, len(rows))
			used := false
			for i := range rows {
				values[i] = 100 * float64(rows[i].Closers[c.name]) / float64(max(rows[i].Closes, 1))
				used = used || values[i] > 0
			}
			if !used {
				continue
			}
			bar, err := plotter.NewBarChart(values, 18)
			if err != nil {
				return nil, fmt.Errorf("draw bars: %w", err)
			}
			bar.Color, bar.Horizontal = c.color, true
			bar.LineStyle.Width = 0
			if below != nil {
				bar.StackOn(below)
			}
			below = bar
			p.Add(bar)
			p.Legend.Add(c.legend, bar)
		}
		p.NominalY(names...)
		p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
		p.X.Min, p.X.Max = 0, 100
		p.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0%"}, {Value: 25, Label: "25%"}, {Value: 50, Label: "50%"}, {Value: 75, Label: "75%"}, {Value: 100, Label: "100%"}}
		p.Y.Max = float64(len(rows)) + 0.6
		p.Legend.YOffs = 4
		return p, nil
	})
}

// rowName labels a bar: what fits.
func rowName(c *report.Closers, narrow bool) string {
	name := c.Process.Comm
	if name == "" {
		name = "-"
	}
	switch {
	case narrow && c.LocalPort != 0:
		return fmt.Sprintf("%s :%d", cut(name, 10), c.LocalPort)
	case narrow:
		return cut(name, 10) + " → " + cut(c.Peer, 13)
	case c.LocalPort != 0:
		return fmt.Sprintf("%s :%d ← %s", name, c.LocalPort, cut(c.Peer, 24))
	}
	return name + " → " + cut(c.Peer, 28)
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// lengths draws how long TIME_WAIT lasted; nil when none ended.
func lengths(w *report.TimeWait) (*drawing, error) {
	var all uint64
	for _, b := range w.Bars {
		all += b.Count
	}
	if all == 0 {
		return nil, nil
	}
	title := "How long TIME_WAIT lasted"
	if w.Host != "" {
		title += " on " + w.Host
	}
	// Empty ranges at either end say nothing.
	list := w.Bars
	for len(list) > 1 && list[0].Count == 0 {
		list = list[1:]
	}
	for len(list) > 1 && list[len(list)-1].Count == 0 {
		list = list[:len(list)-1]
	}
	list = slices.Clone(list)
	slices.Reverse(list) // the shortest on top
	height := float64(50 + 26*len(list))
	return drawTwice(title, size{width: 760, height: height}, size{width: 350, height: height, narrow: true}, func(s size) (*plot.Plot, error) {
		p := newPlot(s)
		values, names := make(plotter.Values, len(list)), make([]string, len(list))
		most := 0.0
		for i, b := range list {
			values[i] = float64(b.Count)
			most = max(most, values[i])
			names[i] = report.Span(b.From) + " – " + report.Span(b.To)
			if b.From == 0 {
				names[i] = "under " + report.Span(b.To)
			} else if b.To >= 24*60*60*1e9 {
				names[i] = "over " + report.Span(b.From)
			}
		}
		bar, err := plotter.NewBarChart(values, 14)
		if err != nil {
			return nil, fmt.Errorf("draw lengths: %w", err)
		}
		bar.Color, bar.Horizontal = local, true
		bar.LineStyle.Width = 0
		labels := plotter.XYLabels{}
		for i, v := range values {
			if v > 0 {
				labels.XYs = append(labels.XYs, plotter.XY{X: v, Y: float64(i)})
				labels.Labels = append(labels.Labels, report.Count(int64(v)))
			}
		}
		text, err := plotter.NewLabels(labels)
		if err != nil {
			return nil, fmt.Errorf("draw lengths: %w", err)
		}
		for i := range text.TextStyle {
			st := &text.TextStyle[i]
			st.Color, st.Font.Size, st.Font.Variant = ink, 12, "Sans"
			st.YAlign = -0.4
		}
		text.Offset = vg.Point{X: 5}
		p.Add(bar, text)
		p.NominalY(names...)
		p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
		p.X.Min, p.X.Max = 0, most*1.2
		p.X.Tick.Marker = whole{4}
		return p, nil
	})
}
