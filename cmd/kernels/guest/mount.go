// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The order matters: a mount point may be in the file system above it.
var mounts = []struct{ target, kind, options string }{
	{"/proc", "proc", ""},
	{"/sys", "sysfs", ""},
	{"/dev", "devtmpfs", ""},
	{"/dev/pts", "devpts", ""},
	{"/dev/shm", "tmpfs", ""},
	{"/tmp", "tmpfs", ""},
	{"/run", "tmpfs", ""},
	{"/sys/fs/bpf", "bpf", "mode=0700"},
	{"/sys/fs/cgroup", "cgroup2", ""},
	{"/sys/kernel/debug", "debugfs", ""},
	{"/sys/kernel/tracing", "tracefs", ""},
	{"/sys/kernel/security", "securityfs", ""},
}

func mountAll() error {
	var errs []error
	for _, m := range mounts {
		// The mount points in sysfs exist and cannot be made.
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			errs = append(errs, fmt.Errorf("make mount point: %w", err))
			continue
		}
		// EBUSY: CONFIG_DEVTMPFS_MOUNT, or debugfs that brought its tracing along.
		err := unix.Mount(m.kind, m.target, m.kind, 0, m.options)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.target, err))
		}
	}
	for link, target := range map[string]string{
		"/dev/fd":     "/proc/self/fd",
		"/dev/stdin":  "/proc/self/fd/0",
		"/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, link); err != nil {
			errs = append(errs, fmt.Errorf("link: %w", err))
		}
	}
	return errors.Join(errs...)
}
