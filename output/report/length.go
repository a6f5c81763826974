// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// length summarizes a histogram of milliseconds; nil when it is empty.
func length(h *hdrhistogram.Histogram) *Length {
	if h.TotalCount() == 0 {
		return nil
	}
	at := func(p float64) time.Duration { return time.Duration(h.ValueAtPercentile(p)) * time.Millisecond }
	return &Length{Count: uint64(h.TotalCount()), P50: at(50), P90: at(90), P99: at(99), Max: at(100)}
}

// bounds of the bars: fine around a minute, where TIME_WAITs end unless something ended them.
var bounds = []time.Duration{
	0, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, 30 * time.Second, 59 * time.Second,
	60 * time.Second, 60500 * time.Millisecond, 61 * time.Second, 61500 * time.Millisecond, 62 * time.Second,
	63 * time.Second, 90 * time.Second, 121 * time.Second,
}

// bars counts a histogram's values by bounds; what is longer is in the last bar.
func bars(h *hdrhistogram.Histogram) []Bar {
	if h.TotalCount() == 0 {
		return nil
	}
	out := make([]Bar, len(bounds))
	for i, from := range bounds {
		out[i].From = from
		if i+1 < len(bounds) {
			out[i].To = bounds[i+1]
		} else {
			out[i].To = time.Duration(longest) * time.Millisecond
		}
	}
	for _, b := range h.Distribution() {
		if b.Count == 0 {
			continue
		}
		i := 0
		for i+1 < len(bounds) && time.Duration(b.From)*time.Millisecond >= bounds[i+1] {
			i++
		}
		out[i].Count += uint64(b.Count)
	}
	return out
}
