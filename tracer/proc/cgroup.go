// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bufio"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroups finds the path of a cgroup v2 by its id, which is its inode number.
type cgroups struct {
	mount string // of the cgroup2 file system; empty when there is none
	fd    int    // of the mount; -1 when it could not be opened
	paths map[uint64]string
}

const maxCgroups = 8192

func newCgroups(procRoot string) *cgroups {
	c := &cgroups{fd: -1, paths: map[uint64]string{}}
	c.mount = cgroup2Mount(filepath.Join(procRoot, "self/mountinfo"))
	if c.mount != "" {
		if fd, err := unix.Open(c.mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			c.fd = fd
		}
	}
	return c
}

func cgroup2Mount(mountinfo string) string {
	f, err := os.Open(mountinfo)
	if err != nil {
		return ""
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		// 29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw
		before, after, ok := strings.Cut(scan.Text(), " - ")
		field := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(field) > 4 {
			return field[4]
		}
	}
	return ""
}

// path returns the cgroup's path below the mount ("/" for the root), or "" when it is
// gone or cannot be found. A miss is remembered: ids are not used again soon.
func (c *cgroups) path(id uint64) string {
	if id == 0 || c.mount == "" {
		return ""
	}
	if p, ok := c.paths[id]; ok {
		return p
	}
	if len(c.paths) >= maxCgroups {
		clear(c.paths)
	}
	p, ok := c.byHandle(id)
	if !ok {
		p = c.byWalk(id)
	}
	c.paths[id] = p
	return p
}

// fileidKernfs is FILEID_KERNFS of include/linux/exportfs.h: the handle is the id itself.
const fileidKernfs = 0xfe

// byHandle opens the cgroup by its id, in one step; it needs CAP_DAC_READ_SEARCH.
func (c *cgroups) byHandle(id uint64) (string, bool) {
	if c.fd < 0 {
		return "", false
	}
	var raw [8]byte
	binary.NativeEndian.PutUint64(raw[:], id)
	fd, err := unix.OpenByHandleAt(c.fd, unix.NewFileHandle(fileidKernfs, raw[:]), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err == unix.ESTALE // gone: no walk will find it
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil || strings.HasSuffix(path, " (deleted)") {
		return "", true
	}
	return c.relative(path), true
}

func (c *cgroups) byWalk(id uint64) (found string) {
	c.walk(func(path string, inode uint64) error {
		if inode == id {
			found = path
			return filepath.SkipAll
		}
		return nil
	})
	return found
}

// learn remembers every cgroup that there is.
func (c *cgroups) learn() {
	if c.mount == "" {
		return
	}
	c.walk(func(path string, inode uint64) error {
		if len(c.paths) >= maxCgroups {
			return filepath.SkipAll
		}
		c.paths[inode] = path
		return nil
	})
}

// walk calls fn with each cgroup's path and inode, until it returns an error.
func (c *cgroups) walk(fn func(path string, inode uint64) error) {
	filepath.WalkDir(c.mount, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			return fn(c.relative(path), st.Ino)
		}
		return nil
	})
}

func (c *cgroups) relative(path string) string {
	rel := strings.TrimPrefix(path, c.mount)
	if rel == "" {
		return "/"
	}
	return rel
}

// A container's cgroup ends in its id, alone (cgroupfs driver) or as ENGINE-ID.scope
// (systemd driver), for Docker, Podman, containerd and CRI-O alike.
var containerID = regexp.MustCompile(`^(?:.*-)?([0-9a-f]{64})(?:\.scope)?$`)

// ContainerID returns the id of the innermost container that a cgroup path belongs to;
// empty when it belongs to none.
func ContainerID(cgroup string) string {
	for cgroup != "" {
		i := strings.LastIndexByte(cgroup, '/')
		if m := containerID.FindStringSubmatch(cgroup[i+1:]); m != nil {
			return m[1]
		}
		cgroup = cgroup[:max(i, 0)]
	}
	return ""
}
