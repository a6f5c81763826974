// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"cmp"
	"strings"
)

// Compare orders package versions as dpkg does (deb-version(7)).
func Compare(a, b string) int {
	epochA, a := cutEpoch(a)
	epochB, b := cutEpoch(b)
	if c := compareNumber(epochA, epochB); c != 0 {
		return c
	}
	upstreamA, revisionA := cutRevision(a)
	upstreamB, revisionB := cutRevision(b)
	if c := comparePart(upstreamA, upstreamB); c != 0 {
		return c
	}
	return comparePart(revisionA, revisionB)
}

func cutEpoch(v string) (epoch, rest string) {
	if epoch, rest, ok := strings.Cut(v, ":"); ok {
		return epoch, rest
	}
	return "", v
}

func cutRevision(v string) (upstream, revision string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// comparePart takes turns between text and number.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		textA, textB := prefix(a, isText), prefix(b, isText)
		if c := compareText(textA, textB); c != 0 {
			return c
		}
		a, b = a[len(textA):], b[len(textB):]
		numberA, numberB := prefix(a, isDigit), prefix(b, isDigit)
		if c := compareNumber(numberA, numberB); c != 0 {
			return c
		}
		a, b = a[len(numberA):], b[len(numberB):]
	}
	return 0
}

func prefix(s string, in func(byte) bool) string {
	for i := range len(s) {
		if !in(s[i]) {
			return s[:i]
		}
	}
	return s
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isText(c byte) bool  { return !isDigit(c) }

// compareNumber takes numbers of any length; no number is 0.
func compareNumber(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func compareText(a, b string) int {
	for i := range max(len(a), len(b)) {
		if c := cmp.Compare(weight(a, i), weight(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

// weight puts a tilde before the end of the text, and that before letters before the rest.
func weight(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'A' && s[i] <= 'Z', s[i] >= 'a' && s[i] <= 'z':
		return int(s[i])
	}
	return int(s[i]) + 256
}
