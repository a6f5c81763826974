// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// prefix begins the name of every namespace that these tests make. The process id comes next, so
// that two runs do not meet, and the leavings of a dead one can be told.
const prefix = "finwait-case-"

var networks atomic.Int32

// network is hosts on one bridge, 10.0.0.0/24, with nothing outside. What is made of it
// is gone with the test.
type network struct {
	t      *testing.T
	dir    string // of every command that is run on its hosts
	prefix string // of the names of its namespaces
	bridge string // the namespace that the bridge is in
	hosts  []*host
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{t: t, dir: t.TempDir(), prefix: fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), networks.Add(1))}
	// Servers drop root.
	for dir := n.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.bridge = n.prefix + "bridge"
	n.add(n.bridge)
	n.ip("-n", n.bridge, "link", "add", "br0", "type", "bridge")
	n.ip("-n", n.bridge, "link", "set", "br0", "up")
	return n
}

// add makes a namespace, and sees to its end.
func (n *network) add(name string) {
	n.t.Helper()
	n.ip("netns", "add", name)
	n.t.Cleanup(func() {
		if err := removeNamespace(name); err != nil {
			n.t.Error(err)
		}
	})
}

func (n *network) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// removeNamespace kills what is left in a namespace, and deletes it.
func removeNamespace(name string) error {
	pids, err := exec.Command("ip", "netns", "pids", name).Output()
	if err != nil {
		return fmt.Errorf("list processes of %s: %w", name, err)
	}
	for _, f := range strings.Fields(string(pids)) {
		if pid, err := strconv.Atoi(f); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
		}
	}
	if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
		return fmt.Errorf("delete %s: %w: %s", name, err, out)
	}
	return nil
}

// sweep removes what a run that was killed has left.
func sweep() {
	names, _ := filepath.Glob("/run/netns/" + prefix + "*")
	for _, path := range names {
		name := filepath.Base(path)
		id, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			if err := removeNamespace(name); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}

// plain takes out of a text what differs from run to run in names: of namespaces and of the directory.
func (n *network) plain(text string) string {
	return strings.NewReplacer(n.prefix, "", n.dir+"/", "", n.dir, ".").Replace(text)
}
