// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// host is a network namespace with an address.
type host struct {
	*network
	name    string
	address string
}

// host adds one, with sysctls below net.ipv4, such as "tcp_tw_reuse=1". The first is 10.0.0.1.
func (n *network) host(name string, sysctls ...string) *host {
	n.t.Helper()
	h := &host{network: n, name: name, address: "10.0.0." + strconv.Itoa(len(n.hosts)+1)}
	n.hosts = append(n.hosts, h)
	n.add(h.netns())
	n.ip("-n", n.bridge, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", h.netns())
	n.ip("-n", n.bridge, "link", "set", name, "master", "br0", "up")
	n.ip("-n", h.netns(), "address", "add", h.address+"/24", "dev", "eth0")
	n.ip("-n", h.netns(), "link", "set", "lo", "up")
	n.ip("-n", h.netns(), "link", "set", "eth0", "up")
	// Every number of ports below is small, and so is the table of who listens: no case may
	// depend on the host's.
	for _, s := range append([]string{"ip_local_port_range=32768 60999", "tcp_tw_reuse=2", "tcp_timestamps=1"}, sysctls...) {
		h.sysctl(s)
	}
	return h
}

// netns is the name of the namespace.
func (h *host) netns() string { return h.prefix + h.name }

// sysctl sets name=value below net.ipv4, the moment it is called.
func (h *host) sysctl(setting string) {
	h.t.Helper()
	if out, err := h.command("sysctl", "-qw", "net.ipv4."+setting).CombinedOutput(); err != nil {
		h.t.Fatalf("%s: set %s: %v: %s", h.name, setting, err, out)
	}
}

// command prepares a program on the host: in its namespace, with finwait in the path, in
// the network's directory. It does not outlive the test's process.
func (h *host) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.netns(), "--"}, args...)...)
	cmd.Dir = h.dir
	cmd.Env = append(os.Environ(), "PATH="+binDir+":/usr/sbin:/sbin:"+os.Getenv("PATH"), "LC_ALL=C.UTF-8", "NO_COLOR=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// shown is a command line, and what it wrote to standard output.
type shown struct {
	host   *host
	line   string
	out    string
	status int
}

// sh runs a command line, as a user types it. Its exit status must be 0.
func (h *host) sh(line string) shown {
	h.t.Helper()
	s := h.try(line)
	if s.status != 0 {
		h.t.Fatalf("%s# %s: exit status %d\n%s", h.name, line, s.status, s.out)
	}
	return s
}

// try is sh with any exit status. What it says on standard error is in the test's log.
func (h *host) try(line string) shown {
	h.t.Helper()
	return h.attempt(line, h.command)
}

// attempt runs a command line that prepare puts where it belongs.
func (h *host) attempt(line string, prepare func(...string) *exec.Cmd) shown {
	h.t.Helper()
	cmd := prepare("bash", "-c", line)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("%s# %s: %v", h.name, line, err)
	}
	if complaints.Len() > 0 {
		h.t.Logf("%s# %s\n%s", h.name, line, complaints.String())
	}
	return shown{host: h, line: line, out: out.String(), status: cmd.ProcessState.ExitCode()}
}

// write makes a file in the directory of the case.
func (n *network) write(name, text string) string {
	n.t.Helper()
	path := filepath.Join(n.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// read returns a file of the directory of the case; a file that is not there is empty.
func (n *network) read(name string) string {
	n.t.Helper()
	raw, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	return string(raw)
}

// counter reads one of the kernel's TcpExt counters of the host.
func (h *host) counter(name string) int { h.t.Helper(); return h.counted("netstat", "TcpExt:", name) }

// snmp reads one of its Tcp counters.
func (h *host) snmp(name string) int { h.t.Helper(); return h.counted("snmp", "Tcp:", name) }

func (h *host) counted(file, group, name string) int {
	h.t.Helper()
	out, err := h.command("cat", "/proc/self/net/"+file).Output()
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if f[0] != group {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i := range names {
			if names[i] == name {
				n, err := strconv.Atoi(f[i])
				if err != nil {
					h.t.Fatal(err)
				}
				return n
			}
		}
	}
	h.t.Fatalf("the kernel has no counter %s", name)
	return 0
}
