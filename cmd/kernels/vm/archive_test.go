// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.device("/dev/console", 0o600, 5, 1)
	a.file("etc/a/hosts", 0o644, []byte("five!"))
	a.file("etc/a/empty", 0o755, nil)
	a.dir("/etc/a")
	a.dir("/")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dev 40755 0:0 ",
		"dev/console 20600 5:1 ",
		"etc 40755 0:0 ",
		"etc/a 40755 0:0 ",
		"etc/a/hosts 100644 0:0 five!",
		"etc/a/empty 100755 0:0 ",
		"TRAILER!!! 0 0:0 ",
	}
	if diff := cmp.Diff(want, list(t, b.Bytes())); diff != "" {
		t.Error(diff)
	}
}

// list reads an archive the way that the kernel does (init/initramfs.c).
func list(t *testing.T, b []byte) []string {
	t.Helper()
	var entries []string
	for len(b) > 0 {
		if !bytes.HasPrefix(b, []byte("070701")) {
			t.Fatalf("no header at %q", b[:min(len(b), 20)])
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(b[6+8*i:6+8*i+8]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		const header = 6 + 13*8
		nameEnd := header + field(11)
		data := (nameEnd + 3) &^ 3
		end := data + field(6)
		entries = append(entries, fmt.Sprintf("%s %o %d:%d %s",
			strings.TrimRight(string(b[header:nameEnd]), "\x00"), field(1), field(9), field(10), b[data:end]))
		b = b[min(len(b), (end+3)&^3):]
	}
	return entries
}
