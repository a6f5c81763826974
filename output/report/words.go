// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// printable replaces what a terminal would act on: names of processes are untrusted.
func printable(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		x, n := utf8.DecodeRune(b)
		if x == utf8.RuneError || !unicode.IsPrint(x) {
			x = '?'
		}
		s.WriteRune(x)
		b = b[n:]
	}
	return s.String()
}

// Count writes 1234567 as 1,234,567.
func Count[N ~int64 | ~uint64 | ~int](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Span writes a duration with as much precision as a reader needs.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < time.Millisecond:
		return "<1 ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 3*time.Minute:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	case d < 2*time.Hour:
		return strconv.FormatFloat(d.Minutes(), 'f', 0, 64) + " min"
	case d < 48*time.Hour:
		return strconv.FormatFloat(d.Hours(), 'f', 1, 64) + " h"
	}
	return strconv.FormatFloat(d.Hours()/24, 'f', 1, 64) + " days"
}

// size writes a number of bytes; Unknown is "some".
func size(n int64) string {
	switch {
	case n < 0:
		return "some bytes"
	case n == 1:
		return "1 byte"
	case n < 10_000:
		return Count(n) + " bytes"
	case n < 10_000_000:
		return Count(n/1000) + " kB"
	}
	return Count(n/1_000_000) + " MB"
}

// Percent never rounds a part to nothing or to all.
func Percent(part, whole float64) string {
	if whole <= 0 {
		return "-"
	}
	p := 100 * part / whole
	switch {
	case part <= 0:
		return "0%"
	case p < 1:
		return "<1%"
	case p > 99 && part < whole:
		return ">99%"
	}
	return strconv.FormatFloat(p, 'f', 0, 64) + "%"
}

// plural is "1 port", "2 ports".
func plural[N ~int64 | ~uint64 | ~int](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Count(n) + " " + noun + "s"
}
