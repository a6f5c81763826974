// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// featurePrefix begins the names of those tests whose subtests are features themselves.
const featurePrefix = "TestFeature"

// Write writes the table, and under it what kernels lack and what went wrong. A row
// below a feature's own is left out, unless all is set, if it is ok wherever it was
// run: the row above it counts it.
func Write(w io.Writer, columns []Column, all bool) error {
	var b strings.Builder
	grid := [][]string{head(columns)}
	for _, n := range tree(columns) {
		grid = appendRows(grid, n, all)
	}
	machine, wall := []string{"the machine itself"}, []string{"seconds on this host"}
	for _, c := range columns {
		status := OK
		if len(c.Troubles) > 0 {
			status = Fail
		}
		machine = append(machine, status.String())
		wall = append(wall, fmt.Sprintf("%.0f", c.Wall.Seconds()))
	}
	align(&b, append(grid, machine, wall))
	notes(&b, "lacks", columns, Column.Lacking)
	notes(&b, "FAIL ", columns, Column.Problems)
	_, err := io.WriteString(w, b.String())
	return err
}

// notes writes what is to be said of columns, once where it is the same of several.
func notes(b *strings.Builder, title string, columns []Column, say func(Column) []string) {
	var order []string
	names := map[string][]string{}
	for _, c := range columns {
		for _, note := range say(c) {
			if names[note] == nil {
				order = append(order, note)
			}
			names[note] = append(names[note], c.Name)
		}
	}
	for _, note := range order {
		who := strings.Join(names[note], ", ")
		if len(names[note]) == len(columns) && len(columns) > 1 {
			who = "every kernel"
		}
		fmt.Fprintf(b, "%s  %s: %s\n", title, who, note)
	}
}

func head(columns []Column) []string {
	row := []string{"feature"}
	for _, c := range columns {
		row = append(row, c.Name)
	}
	return row
}

// align pads each column to its widest cell.
func align(b *strings.Builder, grid [][]string) {
	var width []int
	for _, row := range grid {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range grid {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// node is a test with its subtests, in every column.
type node struct {
	name     string
	status   []Status // by column
	children []*node
}

// tree puts the columns side by side. The tests are in the order of the first column
// that has them.
func tree(columns []Column) []*node {
	root := &node{}
	nodes := map[string]*node{"": root}
	var find func(name string) *node
	find = func(name string) *node {
		n, ok := nodes[name]
		if !ok {
			n = &node{name: name, status: make([]Status, len(columns))}
			nodes[name] = n
			above := find(parent(name))
			above.children = append(above.children, n)
		}
		return n
	}
	for i, c := range columns {
		for _, t := range c.Tests {
			find(t.Name).status[i] = t.Status
		}
	}
	return root.children
}

// appendRows appends n's row and those below it that are shown.
func appendRows(grid [][]string, n *node, all bool) [][]string {
	shown, hidden := n.split(all)
	name := n.name
	if d := depth(name); d > 0 {
		name = strings.Repeat("  ", d) + strings.TrimPrefix(name, parent(name)+"/")
	}
	row := []string{name}
	for i, status := range n.status {
		count := 0
		for _, h := range hidden {
			count += h.count(i)
			status = Worst(status, h.worst(i))
		}
		cell := status.String()
		if count > 0 && status == OK {
			cell = fmt.Sprintf("%s %d", cell, count)
		}
		row = append(row, cell)
	}
	grid = append(grid, row)
	for _, s := range shown {
		grid = appendRows(grid, s, all)
	}
	return grid
}

// split tells the children that have rows from those that their parent's row stands for.
func (n *node) split(all bool) (shown, hidden []*node) {
	feature := strings.HasPrefix(n.name, featurePrefix)
	for _, c := range n.children {
		if feature && (all || depth(c.name) == 1 || !c.allOK()) {
			shown = append(shown, c)
		} else {
			hidden = append(hidden, c)
		}
	}
	return shown, hidden
}

func (n *node) allOK() bool {
	for i := range n.status {
		if n.worst(i) > OK {
			return false
		}
	}
	return true
}

// worst is the worst status of n and all below it, in a column.
func (n *node) worst(column int) Status {
	w := n.status[column]
	for _, c := range n.children {
		w = Worst(w, c.worst(column))
	}
	return w
}

// count is how many tests without subtests n stands for, in a column.
func (n *node) count(column int) int {
	if len(n.children) == 0 {
		if n.status[column] == None {
			return 0
		}
		return 1
	}
	total := 0
	for _, c := range n.children {
		total += c.count(column)
	}
	return total
}
