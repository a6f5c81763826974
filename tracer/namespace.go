// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"finwait/tracer/thread"
)

// Namespace is a network namespace of this host and the settings that decide what
// TIME_WAIT does in it. A setting that this kernel does not have is empty.
type Namespace struct {
	Inode    uint32
	Settings map[string]string // sysctls below net.ipv4, by their last name
	path     string
}

// Settings that trace_start carries, per namespace.
var namespaceSettings = []string{
	"tcp_tw_reuse", "tcp_tw_reuse_delay", "tcp_timestamps", "tcp_fin_timeout",
	"tcp_max_tw_buckets", "tcp_rfc1337", "ip_local_port_range", "ip_local_reserved_ports",
}

// listNamespaces finds every network namespace that a process is in or that is
// mounted somewhere (ip-netns(8), container engines). One that only sockets keep
// alive cannot be entered and is not found.
func listNamespaces() ([]*Namespace, error) {
	found := map[uint32]string{}
	add := func(path string) {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			if _, ok := found[uint32(st.Ino)]; !ok {
				found[uint32(st.Ino)] = path
			}
		}
	}
	add("/proc/self/ns/net")
	procs, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	for _, p := range procs {
		add(p)
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounted network namespaces: %w", err)
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		// 40 30 0:4 net:[4026532290] /run/netns/blue rw - nsfs nsfs rw
		field := strings.Fields(scan.Text())
		if len(field) > 4 && strings.HasPrefix(field[3], "net:[") {
			add(field[4])
		}
	}
	var list []*Namespace
	for inode, path := range found {
		list = append(list, &Namespace{Inode: inode, path: path})
	}
	return list, scan.Err()
}

// enter runs fn on a thread inside the namespace. The thread ends with it: one that
// has been elsewhere is not given back to the Go scheduler.
func (ns *Namespace) enter(fn func() error) error {
	var self unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &self) == nil && uint32(self.Ino) == ns.Inode {
		return fn()
	}
	done := make(chan error, 1)
	thread.Go(func() {
		f, err := os.Open(ns.path)
		if err != nil {
			done <- fmt.Errorf("open: %w", err)
			return
		}
		defer f.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("%w (needs CAP_SYS_ADMIN)", err)
			}
			done <- fmt.Errorf("enter: %w", err)
			return
		}
		done <- fn()
	})
	return <-done
}

// settings reads the namespace's sysctls; the calling thread must be in it.
func (ns *Namespace) settings() {
	ns.Settings = map[string]string{}
	for _, name := range namespaceSettings {
		// A list of reserved ports can be long; one that no record has room for is not known.
		if b, err := os.ReadFile("/proc/sys/net/ipv4/" + name); err == nil && len(b) < 16<<10 {
			ns.Settings[name] = strings.Join(strings.Fields(string(b)), " ")
		}
	}
}
