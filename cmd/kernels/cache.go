// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"finwait/cmd/kernels/debian"
)

// cache holds what was fetched, outside the checkout: a directory for each kernel and
// each emulator, with a record of where it came from.
type cache struct{ dir string }

// cacheVariable overrides where the cache is.
const cacheVariable = "FINWAIT_VM_CACHE"

func openCache() (cache, error) {
	dir := os.Getenv(cacheVariable)
	if dir == "" {
		base, err := os.UserCacheDir() // $XDG_CACHE_HOME, or ~/.cache
		if err != nil {
			return cache{}, fmt.Errorf("find cache: %w (or set %s)", err, cacheVariable)
		}
		dir = filepath.Join(base, "finwait", "vm")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return cache{}, fmt.Errorf("find cache: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cache{}, fmt.Errorf("make cache: %w", err)
	}
	return cache{dir}, nil
}

// lock keeps two fetches from one cache. The lock ends with the process, or by release.
func (c cache) lock() (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock cache: %w", err)
	}
	return func() { f.Close() }, nil
}

func (c cache) kernelDir(t target) string {
	return filepath.Join(c.dir, "kernel-"+t.series+"-"+t.arch)
}

func (c cache) emulatorDir(arch string) string { return filepath.Join(c.dir, "qemu-"+arch) }

// record says what a directory of the cache was made from.
type record struct {
	Release  string           // of a kernel, uname -r; of an emulator, its version
	Packages []debian.Package // with versions and sums
	Wanted   []string         `json:",omitempty"` // the modules that were looked for
	Modules  []string         `json:",omitempty"` // those that are there, in the order to load them
	Missing  []string         `json:",omitempty"` // those that this kernel does not have
	Requires []string         `json:",omitempty"` // packages that the machine must have installed
}

func (r record) String() string {
	var b strings.Builder
	b.WriteString(r.Release)
	for _, p := range r.Packages {
		fmt.Fprintf(&b, "\n    %s sha256:%s", p, p.SHA256)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "\n    MISSING: module %s, and with it what needs it", m)
	}
	return b.String()
}

const recordName = "record.json"

func readRecord(dir string) (r record, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("read record: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, false, fmt.Errorf("decode record in %s: %w", dir, err)
	}
	return r, true, nil
}

// kernel returns what is known of a fetched kernel. One that was fetched for other
// modules than today's counts as not there.
func (c cache) kernel(t target) (r record, ok bool, err error) {
	r, ok, err = readRecord(c.kernelDir(t))
	return r, ok && slices.Equal(r.Wanted, wantedModules), err
}

func (c cache) emulator(arch string) (r record, ok bool, err error) {
	return readRecord(c.emulatorDir(arch))
}

// replace puts the directory from in the place of to, with its record.
func replace(from, to string, r record) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if err := os.WriteFile(filepath.Join(from, recordName), append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("remove what was fetched before: %w", err)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("move into cache: %w", err)
	}
	return nil
}
