// SPDX-License-Identifier: Apache-2.0

package report

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConsole(t *testing.T) {
	const console = `[    0.3] mtrr: your CPUs had inconsistent variable MTRR settings
[    2.7] tcp_diag: Unknown symbol inet_diag_register (err -2)
[    4.7] BUG: kernel NULL pointer dereference, address: 0000000000000008
[    4.7] Oops: 0002 [#1] PREEMPT SMP
[    4.8] Kernel panic - not syncing: Fatal exception
[    4.8] Kernel panic - not syncing: Fatal exception
`
	want := []string{
		"[    4.7] BUG: kernel NULL pointer dereference, address: 0000000000000008",
		"[    4.7] Oops: 0002 [#1] PREEMPT SMP",
		"[    4.8] Kernel panic - not syncing: Fatal exception",
	}
	if diff := cmp.Diff(want, Console(console)); diff != "" {
		t.Error(diff)
	}
}
