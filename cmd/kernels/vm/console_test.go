// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCleanConsole(t *testing.T) {
	raw := "\x1bc\x1b[?7l\x1b[2JFirmware\r\nBooting from ROM..\x1bc\x1b[?7l\x1b[2Jinit: load module veth.ko: no such file or directory\r\n" +
		"[    1.5] a\tb\x07\r\ninit: set lo up: no such device\n"
	r := Result{Console: cleanConsole([]byte(raw))}
	want := "init: load module veth.ko: no such file or directory\n[    1.5] a\tb\ninit: set lo up: no such device\n"
	if diff := cmp.Diff(want, r.Console); diff != "" {
		t.Error(diff)
	}
	complaints := []string{"init: load module veth.ko: no such file or directory", "init: set lo up: no such device"}
	if diff := cmp.Diff(complaints, r.Complaints()); diff != "" {
		t.Error(diff)
	}
}
