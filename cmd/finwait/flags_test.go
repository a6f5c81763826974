// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"finwait/output/filter"
	"finwait/tracer"
	"finwait/tracer/event"
)

// parseFlags is a command line as pflag reads it.
func parseFlags(t *testing.T, args ...string) liveFlags {
	t.Helper()
	var f liveFlags
	fs := pflag.NewFlagSet("finwait", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f
}

// saysHow fails unless err is a usage error that names the flag and what was given.
func saysHow(t *testing.T, name string, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, errUsage) {
		t.Errorf("%s: error = %v, want a usage error", name, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not mention %q", name, err, w)
		}
	}
}

func TestParsePorts(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want event.PortRange
		ok   bool
	}{
		{"", event.PortRange{}, true},
		{"80", event.PortRange{First: 80, Last: 80}, true},
		{"8000-8099", event.PortRange{First: 8000, Last: 8099}, true},
		{"80-80", event.PortRange{First: 80, Last: 80}, true},
		{"0-65535", event.PortRange{First: 0, Last: 65535}, true},
		{"65535", event.PortRange{First: 65535, Last: 65535}, true},
		{"0", event.PortRange{}, false}, // would be every port
		{"0-0", event.PortRange{}, false},
		{"65536", event.PortRange{}, false},
		{"81-80", event.PortRange{}, false},
		{"-80", event.PortRange{}, false},
		{"80-", event.PortRange{}, false},
		{"80-81-82", event.PortRange{}, false},
		{"+80", event.PortRange{}, false},
		{" 80", event.PortRange{}, false},
		{"http", event.PortRange{}, false},
		{"80,81", event.PortRange{}, false},
	} {
		got, err := parsePorts("local-port", tc.in)
		if !tc.ok {
			saysHow(t, tc.in, err, "--local-port", strconv.Quote(tc.in), "8080")
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("%q: %v, %v; want %v", tc.in, got, err, tc.want)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.1.2.3/8", "10.0.0.0/8"},
		{"10.1.2.3", "10.1.2.3/32"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"::1", "::1/128"},
		{"2001:db8::1/32", "2001:db8::/32"},
		// Records show these as IPv4: so must the filter, or it would match nothing.
		{"::ffff:10.1.2.3", "10.1.2.3/32"},
		{"::ffff:10.1.2.3/104", "10.0.0.0/8"},
		{"::ffff:0.0.0.0/96", "0.0.0.0/0"},
	} {
		got, err := parsePrefix("peer", tc.in)
		if err != nil || got != netip.MustParsePrefix(tc.want) {
			t.Errorf("%q: %v, %v; want %s", tc.in, got, err, tc.want)
		}
	}
	if got, err := parsePrefix("peer", ""); err != nil || got.IsValid() {
		t.Errorf("nothing: %v, %v; want no prefix", got, err)
	}
	for _, in := range []string{"x", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "/8", "::1/129", "10.0.0.0-10.0.0.9", "example.org"} {
		_, err := parsePrefix("peer", in)
		saysHow(t, in, err, "--peer", strconv.Quote(in), "10.0.0.0/8")
	}
}

func TestParseNetns(t *testing.T) {
	var own syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &own); err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{"/proc/self/ns/net", strconv.Itoa(os.Getpid()), fmt.Sprintf("inode:%d", own.Ino)} {
		if got, err := parseNetns(in); err != nil || got != uint32(own.Ino) {
			t.Errorf("%q: %d, %v; want %d", in, got, err, own.Ino)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ in, says string }{
		{"inode:", "inode:N"},
		{"inode:0", "inode:N"},
		{"inode:-1", "inode:N"},
		{"inode:4294967296", "inode:N"},
		{"inode:x", "inode:N"},
		{"4294967295", "/proc/4294967295/ns/net"},
		{"no-such-namespace", "/run/netns/no-such-namespace"},
		{file, "not a network namespace"},
		{filepath.Join(file, "x"), "not a directory"},
	} {
		_, err := parseNetns(tc.in)
		saysHow(t, tc.in, err, "--netns", strconv.Quote(tc.in), tc.says)
	}
}

func TestCheck(t *testing.T) {
	for _, args := range [][]string{
		nil, {"-o", "wide"}, {"-o", "json"}, {"--view", "closes"}, {"--color", "never"}, {"--log-format", "json"},
		{"-4"}, {"-6"}, {"-d", "30s"}, {"--max-sockets", "1"},
	} {
		f := parseFlags(t, args...)
		if err := f.check(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, tc := range []struct {
		args []string
		says []string
	}{
		{[]string{"-o", "xml"}, []string{"--output", `"xml"`, "table, wide, json"}},
		{[]string{"-o", ""}, []string{"--output", "table, wide, json"}},
		{[]string{"--view", "sockets"}, []string{"--view", "transitions, closes"}},
		{[]string{"--color", "yes"}, []string{"--color", "auto, always, never"}},
		{[]string{"--log-format", "text"}, []string{"--log-format", "console, json"}},
		{[]string{"-4", "-6"}, []string{"-4", "-6"}},
		{[]string{"-d", "-1s"}, []string{"--duration", "-1s"}},
		{[]string{"--max-sockets", "0"}, []string{"--max-sockets"}},
	} {
		f := parseFlags(t, tc.args...)
		saysHow(t, fmt.Sprint(tc.args), f.check(), tc.says...)
	}
}

func TestFilterFlags(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want filter.Filter
	}{
		{nil, filter.Filter{}},
		{[]string{"-p", "812", "--comm", "nginx", "--cgroup", "/a", "--container", "abc"}, filter.Filter{PID: 812, Comm: "nginx", Cgroup: "/a", Container: "abc"}},
		{[]string{"--comm", "a-name-that-the-kernel-cuts"}, filter.Filter{Comm: "a-name-that-the"}},
		{[]string{"-L", "1-2", "-D", "80"}, filter.Filter{LocalPort: event.PortRange{First: 1, Last: 2}, PeerPort: event.PortRange{First: 80, Last: 80}}},
		{[]string{"--local", "10.0.0.0/8", "--peer", "::1"}, filter.Filter{Local: netip.MustParsePrefix("10.0.0.0/8"), Peer: netip.MustParsePrefix("::1/128")}},
		{[]string{"-4"}, filter.Filter{Family: 4}},
		{[]string{"-6"}, filter.Filter{Family: 6}},
		{[]string{"--netns", "inode:7"}, filter.Filter{NetNS: 7}},
		{[]string{"--closer", "kernel", "--method", "linger0"}, filter.Filter{Closer: event.CloserKernel, Method: event.MethodLinger0}},
	} {
		f := parseFlags(t, tc.args...)
		got, err := f.filter()
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
		}
		if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tc.args, diff)
		}
	}
	for _, tc := range []struct{ args, says []string }{
		{[]string{"-L", "x"}, []string{"--local-port"}},
		{[]string{"-D", "x"}, []string{"--peer-port"}},
		{[]string{"--local", "x"}, []string{"--local"}},
		{[]string{"--peer", "x"}, []string{"--peer"}},
		{[]string{"--netns", "inode:x"}, []string{"--netns"}},
		{[]string{"--closer", "me"}, []string{"--closer", `"me"`, "local, peer, both or kernel"}},
		{[]string{"--method", "kill"}, []string{"--method", `"kill"`, "linger0", "data_after_close"}},
	} {
		f := parseFlags(t, tc.args...)
		_, err := f.filter()
		saysHow(t, fmt.Sprint(tc.args), err, tc.says...)
	}
	for _, m := range event.MethodNames() {
		f := parseFlags(t, "--method", m)
		if got, err := f.filter(); err != nil || got.Method.String() != m {
			t.Errorf("--method %s: %v, %v", m, got.Method, err)
		}
	}
}

func TestOptionsFlags(t *testing.T) {
	page := os.Getpagesize()
	for _, tc := range []struct {
		size string
		want uint32
	}{
		{"8MiB", 8 << 20}, {"64KiB", 64 << 10}, {"1024MiB", 1 << 30}, {"1048576", 1 << 20}, {strconv.Itoa(page), uint32(page)},
	} {
		f := parseFlags(t, "--ring-size", tc.size)
		if got, err := f.ringBytes(); err != nil || got != tc.want {
			t.Errorf("--ring-size %s: %d, %v; want %d", tc.size, got, err, tc.want)
		}
	}
	for _, size := range []string{"", "0", "1", strconv.Itoa(page / 2), "3MiB", "8MB", "8 MiB", "MiB", "-8MiB", "2048MiB", "4194305MiB", "99999999999", "1GiB"} {
		f := parseFlags(t, "--ring-size", size)
		_, err := f.options(&filter.Filter{})
		saysHow(t, size, err, "--ring-size", strconv.Quote(size), "8MiB")
	}
	f := parseFlags(t, "--time-wait-probe", "kprobe")
	_, err := f.options(&filter.Filter{})
	saysHow(t, "kprobe", err, "--time-wait-probe", "auto, fentry or timer")

	f = parseFlags(t, "--time-wait-probe", "timer", "--max-sockets", "5")
	flt := filter.Filter{
		PID: 1, Closer: event.CloserPeer, Family: 6, NetNS: 7, LocalPort: event.PortRange{First: 1, Last: 2}, PeerPort: event.PortRange{First: 3, Last: 4},
		Local: netip.MustParsePrefix("::/0"), Peer: netip.MustParsePrefix("::1/128"),
	}
	got, err := f.options(&flt)
	want := tracer.Options{
		Probe: tracer.ProbeTimer, RingBytes: 8 << 20, MaxSockets: 5,
		Filter: tracer.Filter{LocalPort: flt.LocalPort, PeerPort: flt.PeerPort, Local: flt.Local, Peer: flt.Peer, Family: 6, NetNS: 7},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("options: %v (-want +got):\n%s", err, diff)
	}
}

func TestExitStatus(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("attach: %w", err) }
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{syscall.EPIPE, 0},
		{wrap(&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}), 0},
		{errors.New("something"), 1},
		{usage("--x"), 2},
		{wrap(wrap(errUsage)), 2},
		{wrap(tracer.ErrPrivilege), 3},
		{wrap(tracer.ErrKernel), 4},
		{wrap(errStrict), 5},
		{errors.Join(errors.New("something"), errStrict), 5},
		{errors.Join(wrap(tracer.ErrPrivilege), tracer.ErrKernel), 3},
	} {
		if got := exitStatus(tc.err); got != tc.want {
			t.Errorf("%v: status %d, want %d", tc.err, got, tc.want)
		}
	}
}

// TestUsageErrors: what is wrong on the command line is found before anything is loaded.
func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"--no-such-flag"}, {"-p", "x"}, {"-p", "-1"}, {"-d", "soon"}, {"-c", "-1"}, {"-o", "xml"}, {"nonsense"}, {"-4", "-6"},
		{"--closer", "me"}, {"--log-level", "loud"}, {"--ring-size", "3"}, {"doctor", "nonsense"}, {"version", "--nonsense"},
	} {
		cmd := newRoot()
		cmd.SetArgs(args)
		if got := exitStatus(cmd.ExecuteContext(t.Context())); got != exitUsage {
			t.Errorf("%q: status %d, want %d", args, got, exitUsage)
		}
	}
}

func TestDefaults(t *testing.T) {
	f := parseFlags(t)
	want := liveFlags{
		output: "table", view: "transitions", color: "auto", probe: "auto", logLevel: "info", logFormat: "console",
		maxSockets: 65536, ringSize: "8MiB", keep: "none",
	}
	if diff := cmp.Diff(want, f, cmp.AllowUnexported(liveFlags{})); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	f = parseFlags(t, "-o", "wide", "-p", "1", "--comm", "c", "--cgroup", "/g", "--container", "i", "-L", "1", "-D", "2", "--local", "l", "--peer", "p",
		"-4", "-6", "--netns", "n", "--closer", "local", "--method", "fin", "-d", "30s", "-c", "5", "--time-wait-probe", "fentry", "--strict", "--no-header",
		"--color", "always", "--utc", "--ready-file", "r", "--view", "closes")
	want = liveFlags{
		output: "wide", view: "closes", color: "always", probe: "fentry", logLevel: "info", logFormat: "console", pid: 1, comm: "c", cgroup: "/g",
		container: "i", netns: "n", localPort: "1", peerPort: "2", local: "l", peer: "p", only4: true, only6: true, closer: "local", method: "fin",
		duration: 30 * time.Second, count: 5, maxSockets: 65536, ringSize: "8MiB", keep: "none", strict: true, noHeader: true, utc: true, readyFile: "r",
	}
	if diff := cmp.Diff(want, f, cmp.AllowUnexported(liveFlags{})); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}
