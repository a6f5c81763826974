// SPDX-License-Identifier: Apache-2.0

package html

import (
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"finwait/output/report"
)

// busyBudgets is how many port budgets get a plot.
const busyBudgets = 3

// busyShare of a range makes a second budget worth a plot.
const busyShare = 0.05

// usage draws a host's TIME_WAITs alive; nil when there is nothing to draw.
func usage(w *report.TimeWait) (*drawing, error) {
	if w.Timeline == nil || w.Peak == 0 {
		return nil, nil
	}
	title := "TIME_WAITs alive"
	if w.Host != "" {
		title += " on " + w.Host
	}
	d, err := drawTwice(title, 240, func(s size) (*plot.Plot, error) {
		p := timePlot(s)
		return p, area(p, points(w.Timeline), local, localArea)
	})
	if err == nil {
		d.Keys = []key{{"local", "in TIME_WAIT, all peers together"}}
	}
	return d, err
}

// budget draws the ports in use towards one peer, against the range.
func budget(b *report.Ports) (*drawing, error) {
	title := fmt.Sprintf("Local ports in use, from %s to %s", b.Local, b.Peer)
	if b.Host != "" {
		title += ", on " + b.Host
	}
	d, err := drawTwice(title, 240, func(s size) (*plot.Plot, error) {
		p := timePlot(s)
		xys := points(b.Timeline)
		if err := area(p, xys, peer, peerArea); err != nil {
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
		p.Y.Max = float64(b.Capacity) * 1.05
		return p, nil
	})
	if err == nil {
		d.Keys = []key{{"peer", "in use, TIME_WAIT included"}}
		if b.Capacity > 0 {
			d.Keys = append(d.Keys, key{"limit", fmt.Sprintf("all of ip_local_port_range: %s", report.Count(b.Capacity))})
		}
	}
	return d, err
}

func timePlot(s size) *plot.Plot {
	p := newPlot()
	most := 8
	if s.narrow {
		most = 4
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = clock{most}, whole{}
	p.Y.Min = 0
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, nil
	grid.Horizontal.Width = 0.5
	p.Add(grid)
	return p
}

func area(p *plot.Plot, xys plotter.XYs, c, fill color.Color) error {
	line, err := plotter.NewLine(xys)
	if err != nil {
		return fmt.Errorf("draw timeline: %w", err)
	}
	line.Color, line.Width = c, 2
	line.StepStyle = plotter.PreStep
	line.FillColor = fill
	p.Add(line)
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
	height := float64(50 + 32*len(rows))
	d, err := drawTwice("Who closed first", height, func(s size) (*plot.Plot, error) {
		p := newPlot()
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
		}
		p.NominalY(padded(names)...)
		p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
		p.X.Min, p.X.Max = 0, 100
		p.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0%"}, {Value: 25, Label: "25%"}, {Value: 50, Label: "50%"}, {Value: 75, Label: "75%"}, {Value: 100, Label: "100%"}}
		if s.narrow {
			p.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0%"}, {Value: 50, Label: "50%"}, {Value: 100, Label: "100%"}}
		}
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	for _, c := range closerColors {
		if slices.ContainsFunc(rows, func(r report.Closers) bool { return r.Closers[c.name] > 0 }) {
			d.Keys = append(d.Keys, key{c.name, c.legend})
		}
	}
	return d, nil
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

// padded makes room to the right of labels: they are measured in one font and shown in
// another, which may be a quarter wider.
func padded(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n + strings.Repeat("\u2007", 1+len([]rune(n))/6)
	}
	return out
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
	return drawTwice(title, height, func(s size) (*plot.Plot, error) {
		p := newPlot()
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
		p.NominalY(padded(names)...)
		p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width = 0, 0
		p.X.Min, p.X.Max = 0, most*1.2
		p.X.Tick.Marker = whole{}
		return p, nil
	})
}
