// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"finwait/output/filter"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/privilege"
)

// liveFlags are the flags as they were given, not yet checked.
type liveFlags struct {
	output, view, color, probe     string
	logLevel, logFormat            string
	pid                            uint32
	comm, cgroup, container, netns string
	localPort, peerPort            string
	local, peer                    string
	only4, only6                   bool
	closer, method                 string
	duration                       time.Duration
	count                          uint64
	maxSockets                     uint32
	ringSize                       string
	strict, noHeader, utc          bool
	readyFile                      string
	btf, keep                      string
}

func (f *liveFlags) register(fs *pflag.FlagSet) {
	fs.SortFlags = false
	f.registerForm(fs)
	f.registerChoice(fs)
	f.registerCount(fs)
	f.registerTrace(fs)
	f.registerStrict(fs)
	f.registerLooks(fs)
	f.registerRoom(fs)
	f.registerLog(fs)
}

// registerForm has what a row is.
func (f *liveFlags) registerForm(fs *pflag.FlagSet) {
	fs.StringVarP(&f.output, "output", "o", "table", "table, wide or json (one record a line)")
	fs.StringVar(&f.view, "view", "transitions", "transitions, or closes: one row for a connection when all of it, TIME_WAIT included, is over")
}

// registerChoice has the filters.
func (f *liveFlags) registerChoice(fs *pflag.FlagSet) {
	f.registerOwner(fs)
	f.registerPorts(fs)
	f.registerNetwork(fs)
	fs.StringVar(&f.closer, "closer", "", "only connections closed first by local, peer, both or kernel")
	fs.StringVar(&f.method, "method", "", "only connections closed this way: "+strings.Join(event.MethodNames(), ", "))
}

// registerOwner has the filters by process.
func (f *liveFlags) registerOwner(fs *pflag.FlagSet) {
	fs.Uint32VarP(&f.pid, "pid", "p", 0, "only sockets of this process")
	fs.StringVar(&f.comm, "comm", "", "only sockets of processes with this name")
	fs.StringVar(&f.cgroup, "cgroup", "", "only sockets of this cgroup v2 path and below")
	fs.StringVar(&f.container, "container", "", "only sockets of the container with this id, or a beginning of it")
}

// registerPorts has the filters by port.
func (f *liveFlags) registerPorts(fs *pflag.FlagSet) {
	fs.StringVarP(&f.localPort, "local-port", "L", "", "only this local port, or range N-M")
	fs.StringVarP(&f.peerPort, "peer-port", "D", "", "only this port of the peer, or range N-M")
}

// registerNetwork has the filters by address and network namespace.
func (f *liveFlags) registerNetwork(fs *pflag.FlagSet) {
	fs.StringVar(&f.local, "local", "", "only local addresses in this network, such as 10.0.0.0/8")
	fs.StringVar(&f.peer, "peer", "", "only peers in this network")
	fs.BoolVarP(&f.only4, "ipv4", "4", false, "only IPv4")
	fs.BoolVarP(&f.only6, "ipv6", "6", false, "only IPv6")
	fs.StringVar(&f.netns, "netns", "", "only this network namespace: a path, a process id, or inode:N")
}

func (f *liveFlags) registerCount(fs *pflag.FlagSet) {
	fs.Uint64VarP(&f.count, "count", "c", 0, "stop after this many rows")
}

// registerTrace has how long and how to trace.
func (f *liveFlags) registerTrace(fs *pflag.FlagSet) {
	fs.DurationVarP(&f.duration, "duration", "d", 0, "stop after this long, such as 30s")
	fs.StringVar(&f.probe, "time-wait-probe", "auto", "how TIME_WAIT is watched: auto, fentry or timer")
}

func (f *liveFlags) registerStrict(fs *pflag.FlagSet) {
	fs.BoolVar(&f.strict, "strict", false, "exit with 5 if anything was lost or could not be attached")
}

// registerLooks has how a table looks.
func (f *liveFlags) registerLooks(fs *pflag.FlagSet) {
	fs.BoolVar(&f.noHeader, "no-header", false, "no heading over the table")
	f.registerColor(fs)
	fs.BoolVar(&f.utc, "utc", false, "times in UTC")
}

func (f *liveFlags) registerColor(fs *pflag.FlagSet) {
	fs.StringVar(&f.color, "color", "auto", "auto, always or never (auto also heeds NO_COLOR)")
}

// registerRoom has what the kernel side may take, and what tests need.
func (f *liveFlags) registerRoom(fs *pflag.FlagSet) {
	fs.Uint32Var(&f.maxSockets, "max-sockets", 65536, "live sockets that the kernel side remembers, 192 bytes each")
	fs.StringVar(&f.ringSize, "ring-size", "8MiB", "room for facts between the kernel and this program; a power of two")
	registerTypes(fs, &f.btf)
	fs.StringVar(&f.keep, "keep-capabilities", "none", "after the start, keep these capabilities (such as cap_sys_ptrace: to name program files of processes that start later), or all")
	fs.StringVar(&f.readyFile, "ready-file", "", "create this file once everything is attached")
	fs.MarkHidden("ready-file")
}

// registerTypes has where the kernel's types are.
func registerTypes(fs *pflag.FlagSet, file *string) {
	fs.StringVar(file, "btf", "", "file with this kernel's type information, where /sys/kernel/btf/vmlinux cannot be read")
}

func (f *liveFlags) registerLog(fs *pflag.FlagSet) {
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "console", "console or json")
}

func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

func oneOf(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return usage("--%s %q: use %s", flag, value, strings.Join(allowed, ", "))
}

// check finds what is wrong with the flags before anything is started.
func (f *liveFlags) check() error {
	for _, err := range []error{
		oneOf("output", f.output, "table", "wide", "json"),
		oneOf("view", f.view, "transitions", "closes"),
		oneOf("color", f.color, "auto", "always", "never"),
		oneOf("log-format", f.logFormat, "console", "json"),
	} {
		if err != nil {
			return err
		}
	}
	if f.only4 && f.only6 {
		return usage("-4 and -6 exclude each other; leave both out for both")
	}
	if f.duration < 0 {
		return usage("--duration %v: must not be negative", f.duration)
	}
	if f.maxSockets == 0 {
		return usage("--max-sockets 0: must be at least 1")
	}
	if _, err := privilege.ParseKeep(f.keep); err != nil {
		return usage("--keep-capabilities %q: %v", f.keep, err)
	}
	return nil
}

// filter turns the flags into a choice of records.
func (f *liveFlags) filter() (flt filter.Filter, err error) {
	// The kernel keeps 15 bytes of a name: of what is asked for, no more can be compared.
	comm := event.MakeComm(f.comm)
	flt = filter.Filter{PID: f.pid, Comm: comm.String(), Cgroup: f.cgroup, Container: f.container}
	if flt.LocalPort, err = parsePorts("local-port", f.localPort); err != nil {
		return flt, err
	}
	if flt.PeerPort, err = parsePorts("peer-port", f.peerPort); err != nil {
		return flt, err
	}
	if flt.Local, err = parsePrefix("local", f.local); err != nil {
		return flt, err
	}
	if flt.Peer, err = parsePrefix("peer", f.peer); err != nil {
		return flt, err
	}
	switch {
	case f.only4:
		flt.Family = 4
	case f.only6:
		flt.Family = 6
	}
	if f.netns != "" {
		if flt.NetNS, err = parseNetns(f.netns); err != nil {
			return flt, err
		}
	}
	var ok bool
	if f.closer != "" {
		if flt.Closer, ok = event.ParseCloser(f.closer); !ok {
			return flt, usage("--closer %q: use local, peer, both or kernel", f.closer)
		}
	}
	if f.method != "" {
		if flt.Method, ok = event.ParseMethod(f.method); !ok {
			return flt, usage("--method %q: use one of %s", f.method, strings.Join(event.MethodNames(), ", "))
		}
	}
	return flt, nil
}

func parsePorts(flag, s string) (event.PortRange, error) {
	if s == "" {
		return event.PortRange{}, nil
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a > b || b == 0 {
		return event.PortRange{}, usage("--%s %q: use a port, such as 8080, or a range, such as 8000-8099", flag, s)
	}
	return event.PortRange{First: uint16(a), Last: uint16(b)}, nil
}

func parsePrefix(flag, s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, usage("--%s %q: use an address or a network, such as 10.0.0.0/8", flag, s)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96) // as records show it
	}
	return p.Masked(), nil
}

// parseNetns turns a path, a process id or inode:N into the namespace's inode number.
func parseNetns(s string) (uint32, error) {
	if n, ok := strings.CutPrefix(s, "inode:"); ok {
		inode, err := strconv.ParseUint(n, 10, 32)
		if err != nil || inode == 0 {
			return 0, usage("--netns %q: use inode:N, as in: ls -Li /proc/PID/ns/net", s)
		}
		return uint32(inode), nil
	}
	path := s
	if pid, err := strconv.ParseUint(s, 10, 32); err == nil {
		path = fmt.Sprintf("/proc/%d/ns/net", pid)
	} else if !strings.Contains(s, "/") {
		path = "/run/netns/" + s
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, usage("--netns %q: %v", s, err)
	}
	defer f.Close()
	var st unix.Stat_t
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET || unix.Fstat(int(f.Fd()), &st) != nil {
		return 0, usage("--netns %q: %s is not a network namespace", s, path)
	}
	return uint32(st.Ino), nil
}

func (f *liveFlags) ringBytes() (uint32, error) {
	s, unit := f.ringSize, uint64(1)
	for suffix, n := range map[string]uint64{"KiB": 1 << 10, "MiB": 1 << 20} {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = cut, n
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	n *= unit
	if err != nil || n < uint64(os.Getpagesize()) || n > 1<<30 || n&(n-1) != 0 {
		return 0, usage("--ring-size %q: use a power of two from %d to 1073741824 bytes, such as 8MiB", f.ringSize, os.Getpagesize())
	}
	return uint32(n), nil
}

// options turns the flags into what the tracer needs.
func (f *liveFlags) options(flt *filter.Filter) (opt tracer.Options, err error) {
	if opt.Probe, err = tracer.ParseProbe(f.probe); err != nil {
		return opt, usage("--time-wait-probe: %v", err)
	}
	if opt.RingBytes, err = f.ringBytes(); err != nil {
		return opt, err
	}
	opt.Types = f.btf
	opt.MaxSockets = f.maxSockets
	opt.Filter = tracer.Filter{
		LocalPort: flt.LocalPort, PeerPort: flt.PeerPort, Local: flt.Local, Peer: flt.Peer,
		Family: flt.Family, NetNS: flt.NetNS,
	}
	return opt, nil
}
