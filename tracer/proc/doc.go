// SPDX-License-Identifier: Apache-2.0

// Package proc adds names that the kernel side does not carry: a process's program
// file, a socket's cgroup path, the container that it belongs to.
//
// What is gone before it can be looked up stays empty: nothing is guessed. The root
// of /proc is a value, so that fixtures can stand in for it. Caches are bounded. A
// [Namer] is used from one goroutine.
package proc
