// SPDX-License-Identifier: Apache-2.0

package report

import (
	"regexp"
	"strings"
	"time"
)

// What a test says when it skips because of the kernel begins with this.
const lacks = "kernel lacks:"

// Marker precedes each line of the test framework's own in the output of a binary that
// runs with -test.v=test2json, even where a test has printed a line without an end
// (testing.marker).
const marker = "\x16"

var (
	// An end, and a change of the test whose output follows.
	endPattern  = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP|BENCH): (\S+) \(([0-9.]+s)\)`)
	turnPattern = regexp.MustCompile(`^=== (RUN|CONT|NAME|PAUSE)\s+(\S+)`)
	logPattern  = regexp.MustCompile(`^\s*[^\s:]+\.go:[0-9]+: (.*)`)
)

var statuses = map[string]Status{"PASS": OK, "FAIL": Fail, "SKIP": Skip, "BENCH": OK}

// Parse reads the output of a test binary that ran with -test.v or -test.v=test2json,
// whole or cut off, and returns the tests in the order in which they began.
func Parse(output string) []Test {
	p := parser{index: map[string]int{}, said: map[string]string{}}
	marked := strings.Contains(output, marker)
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\r\n")
		if text, framed, ok := strings.Cut(line, marker); ok {
			p.text(text)
			p.frame(framed)
		} else if marked || !p.frame(line) {
			p.text(line)
		}
	}
	return p.tests
}

// Clean is output without the framework's markers, for people.
func Clean(output string) string { return strings.ReplaceAll(output, marker, "") }

type parser struct {
	tests   []Test
	index   map[string]int    // of a name, in tests
	said    map[string]string // by a test, the last line
	current string
}

// frame reads a line of the test framework's own; any other is none.
func (p *parser) frame(line string) bool {
	if m := turnPattern.FindStringSubmatch(line); m != nil {
		p.current = m[2]
		p.test(p.current)
		return true
	}
	m := endPattern.FindStringSubmatch(line)
	if m == nil {
		return false
	}
	t := p.test(m[2])
	t.Status = statuses[m[1]]
	// The framework's own format; of a wrong one no more than the time is lost.
	t.Elapsed, _ = time.ParseDuration(m[3])
	if t.Status == Skip {
		t.Reason = p.said[t.Name]
		if reason, ok := strings.CutPrefix(t.Reason, lacks); ok {
			t.Status, t.Reason = Lacks, strings.TrimSpace(reason)
		}
	}
	return true
}

// text reads what a test printed or logged; the last log of one that skips is its reason.
func (p *parser) text(line string) {
	if m := logPattern.FindStringSubmatch(line); m != nil {
		p.said[p.current] = m[1]
	}
}

func (p *parser) test(name string) *Test {
	i, ok := p.index[name]
	if !ok {
		i = len(p.tests)
		p.index[name] = i
		p.tests = append(p.tests, Test{Name: name, Status: Running})
	}
	return &p.tests[i]
}
