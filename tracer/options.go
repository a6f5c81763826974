// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"fmt"
	"net/netip"

	"finwait/tracer/event"
)

// Probe says how TIME_WAIT mini-sockets are watched.
type Probe uint8

// ProbeAuto takes fentry where the kernel allows it, and the timer tracepoints elsewhere.
const (
	ProbeAuto Probe = iota
	ProbeFentry
	ProbeTimer
)

var probeNames = [...]string{"auto", "fentry", "timer"}

func (p Probe) String() string { return probeNames[p] }

// ParseProbe is the inverse of Probe.String.
func ParseProbe(s string) (Probe, error) {
	for i, n := range probeNames {
		if n == s {
			return Probe(i), nil
		}
	}
	return 0, fmt.Errorf("unknown TIME_WAIT probe %q: use auto, fentry or timer", s)
}

// Filter is what the kernel side can leave out without losing the other end of a
// wanted connection: a connection passes when either of its ends matches. The zero
// value leaves nothing out.
type Filter struct {
	LocalPort, PeerPort event.PortRange
	Local, Peer         netip.Prefix // invalid: every address
	Family              uint8        // 4, 6; 0: both
	NetNS               uint32       // inode number; 0: every namespace
}

// Options configures a [Tracer]. The zero value traces everything.
type Options struct {
	Probe      Probe
	Filter     Filter
	RingBytes  uint32 // size of the ring, a power of two and a multiple of the page size; 0: 8 MiB
	MaxSockets uint32 // live sockets remembered in the kernel; 0: 65536
	SkipSeed   bool   // do not list what already exists
	Types      string // file with this kernel's type information (BTF); empty: /sys/kernel/btf/vmlinux
	// Drag is for tests: so many clock readings make the state program slow enough to be
	// interrupted.
	Drag uint32
	// NoCookies is for tests: as on kernels before 5.12, the kernel is not asked for cookies.
	NoCookies bool
	// Break is for tests, too: an error for the name of a Way keeps it from being attached.
	Break func(way string) error
	// Tap, if set, sees every raw record before it is decoded; the slice is valid until
	// it returns. Recordings for tests are made with it.
	Tap func(raw []byte)
}

const (
	defaultRingBytes  = 8 << 20
	defaultMaxSockets = 65536
)

func (o Options) withDefaults() Options {
	if o.RingBytes == 0 {
		o.RingBytes = defaultRingBytes
	}
	if o.MaxSockets == 0 {
		o.MaxSockets = defaultMaxSockets
	}
	return o
}
