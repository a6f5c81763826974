// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseIndex(t *testing.T) {
	const index = `Package: emulator
Version: 1:10.0-1
Architecture: amd64
Description: one that
 Version: 3 is not of
Depends: libc6 (>= 2.34), libfoo1 | libbar1 (>= 1), python3:any, emulator-data (>> 1:10~)
Size: 10176912
SHA256: 4a6b

Package: emulator-data
Architecture: all
Version: 1:10.0-1
Size: 5
`
	want := []Package{
		{Name: "emulator", Version: "1:10.0-1", Arch: "amd64", Size: 10176912, SHA256: "4a6b",
			Depends: "libc6 (>= 2.34), libfoo1 | libbar1 (>= 1), python3:any, emulator-data (>> 1:10~)"},
		{Name: "emulator-data", Version: "1:10.0-1", Arch: "all", Size: 5},
	}
	var got []Package
	if err := ParseIndex(strings.NewReader(index), func(p Package) { got = append(got, p) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"libc6", "libfoo1", "python3", "emulator-data"}, got[0].Requires()); diff != "" {
		t.Error(diff)
	}
	if err := ParseIndex(strings.NewReader("Package: a\nSize: x\n"), func(Package) {}); err == nil {
		t.Error("a size of x: no error")
	}
}

func TestSuiteOf(t *testing.T) {
	const list = "/state/lists/mirror.example_debian-security_dists_bookworm-security_main_binary-amd64_Packages"
	if got := suiteOf(list); got != "bookworm-security" {
		t.Errorf("suite %q, want bookworm-security", got)
	}
}
