// SPDX-License-Identifier: Apache-2.0

package event

import "time"

// SeenFlags are the yes-or-no observations of a [Seen]; numbered as enum seen_flags in bpf/snapshot.h.
type SeenFlags uint32

// The flags.
const (
	SeenMini       SeenFlags = 1 << iota // a mini-socket
	SeenTimestamps                       // TCP timestamps were negotiated
	SeenBound                            // bind() or listen() chose the local port
	SeenBacklog                          // listen() was called, or this is the child of such a socket
	SeenOrphan                           // no descriptor refers to it
	SeenFin                              // the peer's FIN has come
)

// Seen is a socket as a look at the host found it.
type Seen struct {
	KTime  int64 // CLOCK_MONOTONIC, nanoseconds
	Socket       // the role is left to those who can compare sockets
	ID     uint64
	Cgroup uint64 // cgroup v2 id; 0 unknown
	State  State  // of a mini-socket: its substate, TIME_WAIT or FIN_WAIT2
	Flags  SeenFlags
	Owners []*Process // the processes that hold a descriptor of it; never of a mini-socket

	// Mini-sockets.
	Remaining time.Duration // until the timer is due; it fires up to two seconds late
	Entered   time.Duration // since it entered TIME_WAIT; Unknown before Linux 6.14
	Stamped   int64         // when the last timestamp came, CLOCK_MONOTONIC seconds; 0: none did
	Sequence  uint32        // next to send

	// Others.
	Acked    time.Duration // since the last segment from the peer that had an ACK
	Received time.Duration // since the last data from the peer
	Unread   int64         // bytes received that the application has not read; Unknown

	Watched time.Duration // since it was first found in this state; 0: just now
}

// Has reports whether all of the flags are set.
func (s *Seen) Has(f SeenFlags) bool { return s.Flags&f == f }

// Lasting is how long the socket has been in its state, as far as it tells: at least,
// and at most. event.Unknown where it does not. No socket keeps the moment itself.
//
// In CLOSE_WAIT the peer's FIN was the last of its data, and had an ACK as every segment
// has: it came after the last data and not after the last ACK. But the answers to
// keep-alive are ACKs too. FIN_WAIT2 and CLOSING began with a segment. Of a TIME_WAIT its
// timer tells, unless Linux (6.14) keeps the entry; where the peer's FIN came again, the
// minute began anew. Looks before this one know better.
func (s *Seen) Lasting() (atLeast, atMost time.Duration) {
	atLeast, atMost = s.bounds()
	if s.Watched > 0 {
		atLeast = max(atLeast, s.Watched)
	}
	return atLeast, atMost
}

func (s *Seen) bounds() (atLeast, atMost time.Duration) {
	switch s.State {
	case CloseWait, LastAck:
		if s.State == LastAck { // our FIN went later, who knows when
			return Unknown, s.Received
		}
		return s.Acked, max(s.Received, s.Acked)
	case FinWait2, Closing, TimeWait:
		switch {
		case !s.Has(SeenMini):
			return s.Acked, Unknown
		case s.Entered != Unknown && s.State == TimeWait:
			return s.Entered, s.Entered
		case s.State == TimeWait:
			return max(TimeWaitLen-s.Remaining, 0), Unknown
		}
	}
	return Unknown, Unknown
}

// TimeWaitLen is the kernel's TCP_TIMEWAIT_LEN; the timer's lateness comes on top.
const TimeWaitLen = 60 * time.Second

// SeenNamespace is a network namespace that was looked at.
type SeenNamespace struct {
	Namespace
	ActiveOpens int64 // the kernel's count of connects that found a port; Unknown
}

// Look is what exists at one moment, as far as one can look at a host in a moment.
type Look struct {
	KTime      int64 // when it began, CLOCK_MONOTONIC, nanoseconds
	Sockets    []Seen
	Namespaces []SeenNamespace
	Took       time.Duration
	Errs       []error // namespaces and descriptors that could not be read
}
