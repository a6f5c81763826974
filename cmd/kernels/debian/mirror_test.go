// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMirror(t *testing.T) {
	const targets = `DEP-11 main bookworm https://wrong.example/
Packages contrib bookworm https://wrong.example/
Packages main stable https://other.example/
Packages main bookworm https://other.example/
Packages main bookworm https://mirror.example/debian/
Packages main bookworm https://other.example/later/
Packages main bookworm-updates https://wrong.example/
Packages main bookworm-security https://mirror.example/debian-security/
`
	got, err := parseMirror(targets, "bookworm")
	if err != nil {
		t.Fatal(err)
	}
	if want := (mirror{"https://mirror.example/debian/", "https://mirror.example/debian-security/"}); got != want {
		t.Errorf("mirror %v, want %v", got, want)
	}
	if _, err := parseMirror(targets, "trixie"); err == nil {
		t.Error("trixie: no error")
	}
}

func TestSources(t *testing.T) {
	m := mirror{archive: "https://mirror.example/debian/"}
	var suites []string
	for line := range strings.Lines(m.sources([]string{"bookworm-security", "bookworm-backports"}, []string{"amd64", "arm64"})) {
		if !strings.Contains(line, "arch=amd64,arm64") {
			t.Errorf("no architectures: %s", line)
		}
		_, rest, _ := strings.Cut(line, "] ")
		suites = append(suites, rest)
	}
	// Without a source of security updates there are none of another release.
	if diff := cmp.Diff([]string{"https://mirror.example/debian/ bookworm-backports main\n"}, suites); diff != "" {
		t.Error(diff)
	}
}
