// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

const (
	sysFork  = unix.SYS_FORK
	sysVfork = unix.SYS_VFORK
)
