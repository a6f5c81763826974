// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"

	"finwait/tracer/privilege"
)

// GiveUp drops this process's privileges, but for those to keep: what is attached stays
// attached, and file descriptors carry the rest. It returns what was kept, which can be
// more: kernels before 5.19 want CAP_BPF for reading a map, too, where
// kernel.unprivileged_bpf_disabled is not 0. That is found out by trying.
func (t *Tracer) GiveUp(keep privilege.Keep) (privilege.Keep, error) {
	if keep.All() {
		return keep, nil
	}
	err := privilege.Without(func() error {
		_, err := t.Counters()
		return err
	})
	if isPrivilege(err) {
		keep.Add("CAP_BPF")
	} else if err != nil {
		return keep, err
	}
	if err := privilege.Drop(keep); err != nil {
		return keep, fmt.Errorf("give up privileges: %w; --keep-capabilities all goes on with all of them", err)
	}
	return keep, nil
}
