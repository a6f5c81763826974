// SPDX-License-Identifier: Apache-2.0

package event

import (
	"net/netip"
	"time"
)

// Unknown marks a duration, or a count that can be zero, that is not known.
const Unknown = -1

// Process names a process. PID 0 means that it is not known.
type Process struct {
	PID, TID  uint32
	UID       uint32
	StartNS   uint64 // start of the thread-group leader, CLOCK_BOOTTIME, nanoseconds
	Comm      Comm   // of the thread-group leader
	Thread    Comm   // of the thread
	Exe       string // path of the program file; empty when it could not be read in time
	Cgroup    string // cgroup v2 path of the socket
	Container string // id of the container that the cgroup belongs to
	Signal    uint8  // that is killing it; 0 none
}

// Known reports whether p names a process.
func (p *Process) Known() bool { return p != nil && p.PID != 0 }

// TimeWaitInfo tells how a TIME_WAIT went.
type TimeWaitInfo struct {
	Duration time.Duration // Unknown when its start is not known
	End      EndReason
	Restarts int           // how often a segment started the minute anew
	Late     time.Duration // of the timer, beyond its expiry; Unknown unless it expired
	// Inferred: the entry, or a restart, was not seen but worked out from the timer.
	Inferred bool

	SuccessorCookie uint64 // the socket that took the 4-tuple over; 0 none, or not known
	Successor       Process
}

// Socket is what every record says of the socket that it is about.
type Socket struct {
	Cookie      uint64
	NetNS       uint32 // inode number
	Family      uint8  // 4 or 6
	Local, Peer netip.AddrPort
	Role        Role
}

// Transition is one step of a connection towards its end, TIME_WAIT included.
type Transition struct {
	KTime int64 // CLOCK_MONOTONIC, nanoseconds
	Socket
	Old, New State
	Duration time.Duration // in Old; Unknown

	Process     Process
	Attribution Attribution
	PeerProcess Process // of the other end, when that is on this host

	Closer Closer // who closed first, as known by now
	Method Method // how they did
	Call   Method // the local call that made this step; none for steps made by segments and timers

	Idle          time.Duration // since the last data either way, on the first closing step; Unknown
	Unread        int64         // bytes received that the application never read, when it closed; Unknown
	BytesSent     int64         // payload; Unknown
	BytesReceived int64         // payload; Unknown
	Timestamps    int8          // 1 negotiated, 0 not, Unknown
	Errno         uint16        // sk_err; 0 none
	TimeWait      *TimeWaitInfo // on TIME_WAIT → CLOSE, or where TIME_WAIT was skipped
	Orphan        EndReason     // on the end of a closed socket's FIN_WAIT2 without TIME_WAIT
	Existed       bool          // the connection is older than the trace
	Incomplete    bool          // steps before this one were lost
}

// ConnectError is a connect() that failed.
type ConnectError struct {
	KTime int64
	Socket
	Process Process
	Errno   uint16 // 0: not known
}

// Release is the last close() of a socket that had died before: killed by an RST, a
// timeout or an abort while its process still held it.
type Release struct {
	KTime int64
	Socket
	Process Process
	Held    time.Duration // between death and this; Unknown
}

// CloseRecord is a whole connection, seen from one socket, when all of it is over.
type CloseRecord struct {
	KTime int64
	Socket
	Process     Process
	Attribution Attribution
	PeerProcess Process
	Closer      Closer
	Method      Method

	States        [stateEnd]time.Duration // time spent in each; Unknown where it was not, or is not known
	TimeWait      *TimeWaitInfo
	Orphan        EndReason
	Idle          time.Duration
	Unread        int64
	BytesSent     int64
	BytesReceived int64
	Timestamps    int8
	Errno         uint16
	Existed       bool
	Incomplete    bool
}
