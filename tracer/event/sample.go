// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"net/netip"
)

// Kind says what a [Sample] reports; numbered as enum event_kind in bpf/event.h.
type Kind uint8

// The kinds of samples.
const (
	KindUnknown      Kind = iota
	KindTransition        // one step of sock:inet_sock_set_state
	KindArmed             // a mini-socket's timer was set
	KindDead              // a mini-socket's timer was taken off
	KindWhy               // evidence for why it was
	KindRefused           // no mini-socket could be made
	KindMiniSeen          // a mini-socket older than the trace
	KindSockSeen          // a socket older than the trace
	KindRelease           // a dead socket's last descriptor was closed
	KindConnectError      // connect() failed before a packet left
	kindEnd
)

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k > KindUnknown && k < kindEnd }

// Mini reports whether samples of this kind are about a mini-socket.
func (k Kind) Mini() bool { return k >= KindArmed && k <= KindMiniSeen }

// Flags are the yes-or-no observations of a [Sample]; numbered as enum event_flags in bpf/event.h.
type Flags uint32

// The flags.
const (
	FlagOwner      Flags = 1 << iota // an owner follows
	FlagCall                         // a local call made the step
	FlagExiting                      // the caller was exiting
	FlagOrphan                       // no descriptor refers to the socket
	FlagClosing                      // the file's last reference is gone: close(), not shutdown()
	FlagLinger0                      // SO_LINGER with time 0
	FlagShutBoth                     // both directions are shut
	FlagTimestamps                   // TCP timestamps were negotiated
	FlagLinger2                      // TCP_LINGER2 is negative
	FlagRequeued                     // the mini-socket existed before
	FlagFull                         // the namespace holds tcp_max_tw_buckets mini-sockets
	FlagUnaccepted                   // nobody has accepted the connection
)

// Reason is the kernel side's own idea of why a mini-socket ended; numbered as enum tw_reason in bpf/event.h.
type Reason uint8

// The reasons.
const (
	ReasonUnknown Reason = iota
	ReasonExpired
	ReasonConnect
	ReasonSyn
	ReasonReset
	ReasonNetns
	reasonEnd
)

// Valid reports whether r is one of the reasons above, ReasonUnknown included.
func (r Reason) Valid() bool { return r < reasonEnd }

// Comm is a task's name as the kernel keeps it: up to 15 bytes, then zeros. Any byte can be in it.
type Comm [16]byte

// Bytes returns the name without the padding. The slice is the array's own memory.
func (c *Comm) Bytes() []byte {
	if i := bytes.IndexByte(c[:], 0); i >= 0 {
		return c[:i]
	}
	return c[:]
}

func (c Comm) String() string { return string(c.Bytes()) }

// MakeComm cuts name to what the kernel would keep of it.
func MakeComm(name string) (c Comm) {
	copy(c[:len(c)-1], name)
	return c
}

// Owner is the process that a [Sample] names.
type Owner struct {
	StartNS  uint64 // start of the thread-group leader, CLOCK_BOOTTIME, nanoseconds
	PID      uint32 // thread group, in the initial pid namespace
	TID      uint32
	UID      uint32 // in the initial user namespace
	ExitCode uint32 // task_struct.exit_code; the low 7 bits are a signal
	Comm     Comm   // of the thread-group leader
	Thread   Comm   // of the thread
}

// Tuple is a connection as seen from one end. Addresses are IPv6, or IPv4 mapped into it.
type Tuple struct {
	Local, Peer         [16]byte
	LocalPort, PeerPort uint16
}

// Reverse is the same connection seen from the other end.
func (t Tuple) Reverse() Tuple {
	return Tuple{Local: t.Peer, Peer: t.Local, LocalPort: t.PeerPort, PeerPort: t.LocalPort}
}

// LocalAddr returns the local end; a v4-mapped address comes as IPv4.
func (t *Tuple) LocalAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Local).Unmap(), t.LocalPort)
}

// PeerAddr returns the other end; a v4-mapped address comes as IPv4.
func (t *Tuple) PeerAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(t.Peer).Unmap(), t.PeerPort)
}

// TupleOf is the inverse of LocalAddr and PeerAddr.
func TupleOf(local, peer netip.AddrPort) Tuple {
	return Tuple{Local: local.Addr().As16(), Peer: peer.Addr().As16(), LocalPort: local.Port(), PeerPort: peer.Port()}
}

// Sample is one report of the kernel side: an observation, not yet a verdict. Which
// fields are set depends on Kind; see struct event in bpf/event.h.
type Sample struct {
	KTime  int64  // CLOCK_MONOTONIC, nanoseconds
	Cookie uint64 // socket cookie; 0 where the kernel has none
	Sock   uint64 // address of the socket: an identity, never shown
	Cgroup uint64 // cgroup v2 id; 0 unknown

	// Transitions.
	Since         int64  // ktime at which Old began; 0 unknown
	Established   int64  // ktime; 0 unknown
	BytesSent     uint64 // payload without retransmissions
	BytesReceived uint64
	IdleJiffies   uint32 // since the last data in either direction
	Unread        uint32 // bytes received that the application did not read
	Errno         uint16 // sk_err, or connect()'s

	// Mini-sockets.
	Expires    uint64 // jiffies; 0 unknown
	Jiffies    uint64 // now
	Bucket     uint64 // expiry as the timer wheel will serve it, jiffies; 0 unknown
	Successor  uint64 // cookie of the socket that took over
	EntryStamp uint32 // entry into TIME_WAIT, CLOCK_MONOTONIC milliseconds modulo 2^32; 0 unknown

	Tuple
	NetNS       uint32 // inode number
	Family      uint8  // 4 or 6
	Flags       Flags
	Kind        Kind
	Old, New    State // of a mini-socket: New is its substate
	Attribution Attribution
	Role        Role
	Reason      Reason
	Owner       Owner // valid when Flags has FlagOwner
}

// Has reports whether all of the flags are set.
func (s *Sample) Has(f Flags) bool { return s.Flags&f == f }
