// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMissing(t *testing.T) {
	const listing = "installed libc6\nconfig-files seabios\ninstalled xz-utils\nnot-installed zstd\n"
	got := missing(listing, []string{"libc6", "never-heard-of", "seabios", "xz-utils", "zstd"})
	if diff := cmp.Diff([]string{"never-heard-of", "seabios", "zstd"}, got); diff != "" {
		t.Error(diff)
	}
}
