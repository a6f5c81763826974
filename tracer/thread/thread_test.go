// SPDX-License-Identifier: Apache-2.0

package thread

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGo: whoever asks, the process's first thread is not used; not even when it is the only
// one that is free.
func TestGo(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var all sync.WaitGroup
	for range 200 {
		all.Add(1)
		Go(func() {
			defer all.Done()
			if unix.Gettid() == unix.Getpid() {
				t.Error("on the first thread")
			}
		})
	}
	all.Wait()
}
