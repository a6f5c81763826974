// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"regexp"
	"slices"
	"strings"
)

// trim says which lines of an output are worth showing.
type trim func(lines []string) (keep []bool)

// matching keeps the lines that a regular expression matches.
func matching(pattern string) trim {
	re := regexp.MustCompile(pattern)
	return func(lines []string) []bool {
		keep := make([]bool, len(lines))
		for i, line := range lines {
			keep[i] = re.MatchString(line)
		}
		return keep
	}
}

// section keeps a heading of the report, and what is below it that a pattern matches: a heading begins at
// the margin, what belongs to it does not.
func section(heading, pattern string) trim {
	re := regexp.MustCompile(pattern)
	return func(lines []string) []bool {
		keep := make([]bool, len(lines))
		begin := slices.Index(lines, heading)
		if begin < 0 {
			return keep
		}
		keep[begin] = true
		for i := begin + 1; i < len(lines) && (lines[i] == "" || lines[i][0] == ' '); i++ {
			keep[i] = re.MatchString(lines[i])
		}
		return keep
	}
}

var exampleLine = regexp.MustCompile(`^ {6}\d\d:\d\d:`)

// found keeps the first finding with this id, without its examples: they are addresses and times. Lines of
// evidence that are there in some runs and not in others can be left out.
func found(id string, without ...string) trim {
	return func(lines []string) []bool {
		keep := make([]bool, len(lines))
		begin := slices.IndexFunc(lines, func(line string) bool { return strings.HasSuffix(line, "["+id+"]") })
		if begin < 0 {
			return keep
		}
		for i := begin; i < len(lines) && lines[i] != ""; i++ {
			keep[i] = !exampleLine.MatchString(lines[i]) &&
				!slices.ContainsFunc(without, func(s string) bool { return strings.Contains(lines[i], s) })
		}
		return keep
	}
}
