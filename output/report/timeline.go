// SPDX-License-Identifier: Apache-2.0

package report

// points is the resolution of every timeline. The trace's length is not known
// beforehand: when it outgrows the grid, pairs of points become one, and a point lasts
// twice as long.
const points = 512

// firstWidth is a point's first length: five seconds of trace fit.
const firstWidth = int64(10_000_000)

// grid is the time axis that all timelines of a host share.
type grid struct {
	base, width int64 // ktime, nanoseconds
	tracks      map[*track]struct{}
}

// track is a sum over time: what was added at each point.
type track [points]int32

func newGrid(base int64) grid {
	return grid{base: base, width: firstWidth, tracks: map[*track]struct{}{}}
}

func (g *grid) track() *track {
	t := new(track)
	g.tracks[t] = struct{}{}
	return t
}

// drop forgets a track.
func (g *grid) drop(t *track) { delete(g.tracks, t) }

// slot returns the point of a time. What is before the trace is at its first point.
func (g *grid) slot(ktime int64) int {
	if ktime <= g.base {
		return 0
	}
	for {
		i := (ktime - g.base) / g.width
		if i < points {
			return int(i)
		}
		g.width *= 2
		for t := range g.tracks {
			for i := range points / 2 {
				t[i] = t[2*i] + t[2*i+1]
			}
			clear(t[points/2:])
		}
	}
}

// sums returns the running sum up to the point of ktime, from start.
func (g *grid) sums(t *track, start int64, until int64) []int64 {
	n := g.slot(until) + 1
	out := make([]int64, n)
	for i := range n {
		start += int64(t[i])
		out[i] = max(start, 0)
	}
	return out
}

// window returns the sum of the points that began at or after ktime, and how long
// before until that is.
func (g *grid) window(t *track, ktime, until int64) (sum, length int64) {
	first, last := g.slot(ktime), g.slot(until)
	for i := first; i <= last; i++ {
		sum += int64(t[i])
	}
	return sum, until - (g.base + int64(first)*g.width)
}
