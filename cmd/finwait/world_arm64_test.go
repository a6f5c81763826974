// SPDX-License-Identifier: Apache-2.0

package main

// arm64 has neither fork() nor vfork(); these numbers are no system call's.
const (
	sysFork  = 1 << 20
	sysVfork = sysFork + 1
)
