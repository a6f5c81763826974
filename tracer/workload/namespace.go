// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"finwait/tracer/thread"
)

// namespace is a network namespace held open by one thread that lives in it. It is gone
// when that thread, and every worker started from it, is.
type namespace struct {
	calls chan func()
	ended chan struct{}
	inode uint32
}

func newNamespace() (*namespace, error) {
	n := &namespace{calls: make(chan func()), ended: make(chan struct{})}
	started := make(chan error, 1)
	thread.Go(func() { n.live(started) })
	if err := <-started; err != nil {
		<-n.ended
		return nil, err
	}
	return n, nil
}

func (n *namespace) live(started chan<- error) {
	defer close(n.ended)
	started <- n.enter()
	for call := range n.calls {
		call()
	}
}

func (n *namespace) enter() error {
	var before, after unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &before); err != nil {
		close(n.calls)
		return fmt.Errorf("read network namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		close(n.calls)
		return fmt.Errorf("create network namespace (needs root or CAP_SYS_ADMIN): %w", err)
	}
	err := unix.Stat("/proc/thread-self/ns/net", &after)
	if err == nil && after.Ino == before.Ino {
		err = errors.New("the thread is still in the old one")
	}
	if err != nil {
		close(n.calls)
		return fmt.Errorf("enter network namespace: %w", err)
	}
	n.inode = uint32(after.Ino)
	return nil
}

// do runs f on the namespace's thread.
func (n *namespace) do(f func() error) error {
	result := make(chan error, 1)
	n.calls <- func() { result <- f() }
	return <-result
}

func (n *namespace) close() {
	close(n.calls)
	<-n.ended
}

// sysctl writes to net/<name>; /proc/sys/net is the writing thread's namespace's.
func (n *namespace) sysctl(name, value string) error {
	return n.do(func() error {
		if err := os.WriteFile(sysctlPath(name), []byte(value+"\n"), 0); err != nil {
			return fmt.Errorf("set sysctl net.%s: %w", name, err)
		}
		return nil
	})
}

// setting is a sysctl under net/; optional ones do not exist on every kernel.
type setting struct {
	name, value string
	optional    bool
}

// tune applies settings and returns what puts the old values back, in reverse.
func (n *namespace) tune(settings ...setting) (restore func() error, err error) {
	var old []setting
	restore = func() error {
		var first error
		for i := len(old) - 1; i >= 0; i-- {
			if err := n.sysctl(old[i].name, old[i].value); err != nil && first == nil {
				first = err
			}
		}
		return first
	}
	for _, s := range settings {
		value, err := n.read(s.name)
		if os.IsNotExist(err) && s.optional {
			continue
		}
		if err == nil {
			err = n.sysctl(s.name, s.value)
		}
		if err != nil {
			_ = restore() // the first error says more
			return nil, fmt.Errorf("tune namespace: %w", err)
		}
		old = append(old, setting{name: s.name, value: value})
	}
	return restore, nil
}

func (n *namespace) read(name string) (string, error) {
	var value string
	err := n.do(func() error {
		text, err := os.ReadFile(sysctlPath(name))
		value = strings.TrimSpace(string(text))
		return err
	})
	return value, err
}

func sysctlPath(name string) string {
	return filepath.Join("/proc/sys/net", strings.ReplaceAll(name, ".", "/"))
}
