// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// archive writes the cpio format that the kernel unpacks as its first file system
// (Documentation/driver-api/early-userspace/buffer-format.rst, "newc"). It is not
// compressed: the guest would be slower to unpack it than the host is to write it.
// The first error stays, and close returns it.
type archive struct {
	w     io.Writer
	inode int
	dirs  map[string]bool
	err   error
}

// File types in a mode.
const (
	modeDir    = 0o040000
	modeFile   = 0o100000
	modeDevice = 0o020000 // a character device
)

func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{".": true}}
}

// dir adds a directory and those above it.
func (a *archive) dir(name string) {
	name = clean(name)
	if a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, modeDir|0o755, nil, 0, 0)
}

func (a *archive) file(name string, permissions int, data []byte) {
	name = clean(name)
	a.dir(path.Dir(name))
	a.entry(name, modeFile|permissions, data, 0, 0)
}

func (a *archive) device(name string, permissions, major, minor int) {
	name = clean(name)
	a.dir(path.Dir(name))
	a.entry(name, modeDevice|permissions, nil, major, minor)
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	return a.err
}

func (a *archive) entry(name string, mode int, data []byte, major, minor int) {
	if a.err != nil {
		return
	}
	a.inode++
	var header strings.Builder
	header.WriteString("070701")
	for _, field := range []int{
		a.inode, mode,
		0, 0, // owner, group
		1, 0, // links, time of modification
		len(data),
		0, 0, // the device the file is on
		major, minor,
		len(name) + 1,
		0, // no checksum
	} {
		fmt.Fprintf(&header, "%08x", field)
	}
	header.WriteString(name + "\x00")
	// The name and the data each end at a multiple of four.
	for _, part := range [][]byte{[]byte(header.String()), data} {
		if _, err := a.w.Write(part); err != nil {
			a.err = fmt.Errorf("write %s: %w", name, err)
			return
		}
		if _, err := a.w.Write(make([]byte, -len(part)&3)); err != nil {
			a.err = fmt.Errorf("write %s: %w", name, err)
			return
		}
	}
}

func clean(name string) string {
	return path.Clean(strings.TrimPrefix(name, "/"))
}
