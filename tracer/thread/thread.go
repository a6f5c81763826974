// SPDX-License-Identifier: Apache-2.0

// Package thread gives a goroutine a thread of its own, for what the kernel keeps per
// thread: namespaces.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Go runs fn in a goroutine whose thread ends with it, so that no other goroutine can find
// itself where fn went. It is never the process's first thread: that one the Go runtime
// cannot end, only park, wherever it is; it would hold its namespace for as long as the
// process lives, and what /proc shows as the process's namespace is the first thread's.
func Go(fn func()) {
	go run(fn)
}

func run(fn func()) {
	runtime.LockOSThread() // never unlocked where fn runs
	if unix.Gettid() != unix.Getpid() {
		fn()
		return
	}
	// While this goroutine keeps the first thread, another one must get another.
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(fn)
	}()
	<-done
	runtime.UnlockOSThread()
}
