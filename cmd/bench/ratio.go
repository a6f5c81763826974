// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
)

// series is one figure of every round.
type series []float64

func (s *series) add(v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		*s = append(*s, v)
	}
}

// median, with the least and the most. NaN of nothing.
func (s series) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// text is "median (least to most)".
func (s series) text(format string) string {
	if len(s) == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+" to "+format+")", s.median(), slices.Min(s), slices.Max(s))
}
