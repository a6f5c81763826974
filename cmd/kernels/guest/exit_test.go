// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExit(t *testing.T) {
	want := Exit{Code: 137, Taint: 1<<9 | 1<<13, Up: 1500 * time.Millisecond, Ran: time.Hour}
	got, ok := ParseExit(want.String() + "\r\n")
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("ok %v: %s", ok, diff)
	}
	for _, line := range []string{"", StartMark, "@@finwait-exit code=1@@", " " + want.String()} {
		if e, ok := ParseExit(line); ok {
			t.Errorf("%q is %v", line, e)
		}
	}
}

func TestBadTaint(t *testing.T) {
	for taint, want := range map[uint64]string{
		0:             "",
		1<<13 | 1<<12: "", // unsigned and foreign modules
		1 << 9:        "warning",
		1<<7 | 1<<14:  "oops, soft lockup",
	} {
		if got := (Exit{Taint: taint}).BadTaint(); got != want {
			t.Errorf("%#x is %q, want %q", taint, got, want)
		}
	}
}
