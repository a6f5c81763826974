// SPDX-License-Identifier: Apache-2.0

package privilege

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Keep is which capabilities outlive [Drop]. The zero value: none.
type Keep struct {
	all    bool
	values []cap.Value
}

// ParseKeep reads a list of names, separated by commas; "none" and "all" are such lists.
func ParseKeep(list string) (k Keep, err error) {
	switch list {
	case "", "none":
		return k, nil
	case "all":
		return Keep{all: true}, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		v, ok := parse(strings.TrimSpace(name))
		if !ok {
			return k, fmt.Errorf("no capability is called %q: use names such as cap_sys_ptrace, separated by commas, or all, or none", name)
		}
		k.values = append(k.values, v)
	}
	return k, nil
}

// Add keeps one more.
func (k *Keep) Add(names ...string) {
	for _, name := range names {
		if v, ok := parse(name); ok && !slices.Contains(k.values, v) {
			k.values = append(k.values, v)
		}
	}
}

// All reports whether nothing is to be given up.
func (k Keep) All() bool { return k.all }

func (k Keep) String() string {
	switch {
	case k.all:
		return "all"
	case len(k.values) == 0:
		return "none"
	}
	names := make([]string, len(k.values))
	for i, v := range k.values {
		names[i] = v.String()
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

// Drop gives up every capability but those to keep, for good: in every set of every thread,
// the bounding set included where CAP_SETPCAP allows, and it sets no_new_privs, so that no
// program that this process might start can have more. What is kept stays usable here
// alone: not in the ambient or inheritable set.
func Drop(k Keep) error {
	if k.all {
		return nil
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// The ambient set goes with the inheritable one, below; kernels before 4.3 have none.
	had := cap.GetProc()
	var errs []error
	if may, err := had.GetFlag(cap.Effective, cap.SETPCAP); err == nil && may {
		for v := range cap.MaxBits() {
			if slices.Contains(k.values, v) {
				continue
			}
			if in, err := cap.GetBound(v); err != nil || !in {
				continue
			}
			if err := cap.DropBound(v); err != nil {
				errs = append(errs, fmt.Errorf("drop %v from the bounding set: %w", v, err))
			}
		}
	}
	set := cap.NewSet()
	for _, v := range k.values {
		held, err := had.GetFlag(cap.Permitted, v)
		if err != nil || !held {
			continue
		}
		errs = append(errs, set.SetFlag(cap.Permitted, true, v), set.SetFlag(cap.Effective, true, v))
	}
	if err := set.SetProc(); err != nil {
		errs = append(errs, fmt.Errorf("give capabilities up: %w", err))
	}
	return errors.Join(errs...)
}

// Without runs fn on a thread that has none of this process's capabilities in effect, to try
// what still works without them. Afterwards the thread has them again: Drop needs all
// threads to be alike.
func Without(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- without(fn)
	}()
	return <-done
}

func without(fn func() error) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var had [2]unix.CapUserData
	if err := unix.Capget(&hdr, &had[0]); err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	none := had
	none[0].Effective, none[1].Effective = 0, 0
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		return fmt.Errorf("try without capabilities: %w", err)
	}
	err := fn()
	// What is permitted can be put into effect again: this cannot fail.
	if rerr := unix.Capset(&hdr, &had[0]); rerr != nil {
		return fmt.Errorf("take capabilities back: %w", rerr)
	}
	runtime.UnlockOSThread()
	return err
}
