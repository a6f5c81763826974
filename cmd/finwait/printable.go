// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"unicode"
)

// printable is s without anything that a terminal would act on: names of files, hosts and
// processes come from others.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || r != '\n' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
