// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	number = regexp.MustCompile(`((\bAll )?[<>]?\b\d[\d.,:]*)( of \d[\d.,]*)?( ?(ms|µs|s|min|kB|MB|bytes?)\b)?%?`)
	pids   = regexp.MustCompile(`\[(over )?\d+( processes)?\]`)
	ids    = regexp.MustCompile(`\b([0-9a-f]{64}|[0-9a-f]{12})\b`)
	prompt = regexp.MustCompile(`^[a-z0-9-]+# `)
)

// mask takes out of a page what differs from run to run, so that two can be compared: numbers with
// their units, and where a line was wrapped for them. Commands, and files that were given to servers,
// stay as they are.
func mask(text string) []string {
	var out []string
	fence, masked := "", ""
	flush := func() {
		if masked != "" {
			out = append(out, masked)
		}
		masked = ""
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		begins, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence:
			flush()
			fence = begins
			out = append(out, line)
		case fence == "console" && prompt.MatchString(line), fence != "" && fence != "console":
			flush()
			out = append(out, line)
		case strings.TrimSpace(line) == "" || wrapStart.MatchString(line):
			flush()
			masked = squeeze(line)
		default:
			masked = strings.TrimSpace(masked + " " + squeeze(line))
		}
	}
	flush()
	return out
}

// wrapStart is how a line begins that is not the rest of a wrapped one.
var wrapStart = regexp.MustCompile(`^( {0,4}\S| {4}- |…)`)

func squeeze(line string) string {
	line = ids.ReplaceAllString(line, "#")
	line = pids.ReplaceAllString(line, "[#]")
	return number.ReplaceAllString(strings.Join(strings.Fields(line), " "), "#")
}

func TestMask(t *testing.T) {
	for _, tt := range []struct{ a, b string }{
		{"  All 83 connections, 12.5 a second", "  82 of 83 connections, 9 a second"},
		{"idle for <1 ms", "idle for 12 s"},
		{"    - 1 port in use at the end, then\n      wrapped here", "    - 12,345 port in use at the end,\n      then wrapped here"},
		{"x@ca8140979cb5 1", "x@111111111111 1"},
		{"nginx[12]", "nginx[2 processes]"},
		{"a  12  >99%", "a  1  3%"},
		{"from 12:00:00 UTC", "from 7:10:01 UTC"},
	} {
		if diff := cmp.Diff(mask(tt.a), mask(tt.b)); diff != "" {
			t.Errorf("%q and %q:\n%s", tt.a, tt.b, diff)
		}
	}
	for _, tt := range []struct{ a, b string }{
		{"nginx closed", "java closed"},
		{"```console\na# sysctl x=1\n```", "```console\na# sysctl x=2\n```"},
		{"```nginx\nkeepalive 2;\n```", "```nginx\nkeepalive 4;\n```"},
	} {
		if cmp.Diff(mask(tt.a), mask(tt.b)) == "" {
			t.Errorf("%q and %q are the same to mask", tt.a, tt.b)
		}
	}
}
