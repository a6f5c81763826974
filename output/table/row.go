// SPDX-License-Identifier: Apache-2.0

package table

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"finwait/tracer/event"
)

// row is a line under construction.
type row struct {
	b     []byte
	cell  int // where the current cell begins
	index int
	cols  []column
}

func (r *row) begin(cols []column) {
	r.b, r.cell, r.index, r.cols = r.b[:0], 0, 0, cols
}

func (r *row) add(parts ...string) {
	for _, p := range parts {
		r.b = append(r.b, p...)
	}
}

func (r *row) sep() {
	if len(r.b) > r.cell {
		r.b = append(r.b, "; "...)
	}
}

// name adds a task's name.
func (r *row) name(c *event.Comm) { r.text(c.Bytes()) }

// text adds what others have written, without anything that a terminal would act on.
func (r *row) text(b []byte) {
	for len(b) > 0 {
		x, n := utf8.DecodeRune(b)
		if x == utf8.RuneError || !unicode.IsPrint(x) {
			x = '?'
		}
		r.b = utf8.AppendRune(r.b, x)
		b = b[n:]
	}
}

// next ends the current cell and fills it up to its column's width.
func (r *row) next() {
	col := &r.cols[r.index]
	width := utf8.RuneCount(r.b[r.cell:])
	col.width = max(col.width, width)
	pad := col.width - width
	if pad > 0 {
		for range pad {
			r.b = append(r.b, ' ')
		}
		if col.right {
			copy(r.b[r.cell+pad:], r.b[r.cell:len(r.b)-pad])
			for i := range pad {
				r.b[r.cell+i] = ' '
			}
		}
	}
	r.b = append(r.b, "  "...)
	r.cell = len(r.b)
	r.index++
}

func (r *row) ms(d time.Duration) {
	if d >= 0 {
		r.b = strconv.AppendFloat(r.b, float64(d)/1e6, 'f', 1, 64)
	} else {
		r.add("-")
	}
	r.next()
}

func (r *row) count(n int64) {
	if n == event.Unknown {
		r.add("-")
	} else {
		r.b = strconv.AppendInt(r.b, n, 10)
	}
	r.next()
}

func (r *row) wide(s *event.Socket, p *event.Process, a event.Attribution, peer *event.Process, sent, received int64) {
	r.orDash(s.Role.String())
	r.add(a.String())
	r.next()
	if p.Known() {
		r.b = strconv.AppendUint(r.b, uint64(p.UID), 10)
	} else {
		r.add("-")
	}
	r.next()
	r.b = strconv.AppendUint(r.b, uint64(s.NetNS), 10)
	r.next()
	r.count(sent)
	r.count(received)
	if peer.Known() {
		r.name(&peer.Comm)
		r.add("[", strconv.FormatUint(uint64(peer.PID), 10), "]")
	} else {
		r.add("-")
	}
	r.next()
	if len(p.Container) > 12 {
		r.text([]byte(p.Container[:12]))
	} else {
		r.add("-")
	}
	r.next()
}
