// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"os"
)

// mounts are files that must be there, by the file system that has them.
var mounts = []struct{ file, what, how string }{
	{"/proc/self/mountinfo", "proc on /proc", "mount -t proc proc /proc"},
	{"/sys/devices/system/cpu/possible", "sysfs on /sys", "mount -t sysfs sysfs /sys"},
}

// mounted returns an error where a file system is missing without which BPF cannot be
// used, as in a bare chroot.
func mounted() error {
	for _, m := range mounts {
		if _, err := os.Stat(m.file); err != nil {
			return fmt.Errorf("%w: there is no %s here (%w); mount it: %s", ErrKernel, m.what, err, m.how)
		}
	}
	return nil
}
