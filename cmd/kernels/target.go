// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strings"
)

// target names a kernel to test: a series such as 6.12, or the newest there is.
type target struct {
	series   string // "6.12", or newest
	arch     string
	required bool // a mirror without it fails the run
}

// newest is the newest kernel, which is at least leastNewest: an older one means that
// the mirror could not be read.
const (
	newest      = "newest"
	leastNewest = "7.2"
)

// matrix is what test runs by default. Debian drops the optional ones some day: 5.10 is
// its oldest, 6.18 a backport that newer ones superseded. arm64 needs another emulator.
var matrix = []target{
	{"5.10", "amd64", false},
	{"6.1", "amd64", true},
	{"6.12", "amd64", true},
	{"6.18", "amd64", false},
	{newest, "amd64", true},
	{"6.12", "arm64", false},
}

func (t target) String() string {
	if t.arch == "amd64" {
		return t.series
	}
	return t.series + "-" + t.arch
}

var targetPattern = regexp.MustCompile(`^([0-9]+\.[0-9]+|` + newest + `)(?:-(amd64|arm64))?$`)

// parseTargets reads what String writes, several with commas. Who asks for a kernel by
// name requires it.
func parseTargets(list string) ([]target, error) {
	var all []target
	for name := range strings.SplitSeq(list, ",") {
		m := targetPattern.FindStringSubmatch(strings.TrimSpace(name))
		if m == nil {
			return nil, fmt.Errorf("parse kernel %q: want a series such as 6.12, or %s, and -arm64 after it for that", name, newest)
		}
		t := target{series: m[1], arch: m[2], required: true}
		if t.arch == "" {
			t.arch = "amd64"
		}
		all = append(all, t)
	}
	return all, nil
}
