// SPDX-License-Identifier: Apache-2.0

package event

// Counter is one of the kernel's own TcpExt counters, kept per network namespace, that
// a trace can be held against.
type Counter uint8

// The counters. A mini-socket's birth counts as CounterTW, or as CounterTWKilled where its
// timeout is four seconds or less (__inet_twsk_schedule()): held against a trace, the two are one.
const (
	CounterTW Counter = iota
	CounterTWKilled
	CounterTWRecycled    // connect() took the 4-tuple over
	CounterOverflow      // no mini-socket was made
	CounterAbortOnClose  // close() with unread data
	CounterAbortOnData   // SO_LINGER 0, and data that came after close()
	CounterAbortTimeout  // the peer stayed silent
	CounterAbortOnLinger // TCP_LINGER2 < 0
	CounterAbortOnMemory
	CounterAbortFailed
	CounterEnd
)

var counterNames = []string{
	"TW", "TWKilled", "TWRecycled", "TCPTimeWaitOverflow", "TCPAbortOnClose", "TCPAbortOnData",
	"TCPAbortOnTimeout", "TCPAbortOnLinger", "TCPAbortOnMemory", "TCPAbortFailed",
}

// String returns the kernel's name, as in /proc/net/netstat.
func (c Counter) String() string { return name(counterNames, c) }

// ParseCounter is the inverse of Counter.String.
func ParseCounter(s string) (Counter, bool) {
	for i, n := range counterNames {
		if n == s {
			return Counter(i), true
		}
	}
	return CounterEnd, false
}

// Counted is what happened between two readings of a counter.
type Counted struct {
	Kernel int64 // by the kernel's count; Unknown
	Ours   int64 // by the trace's; Unknown where it has no count to compare
	// Unsure is how many more, or fewer, there may be: they came while a counter was being
	// read, or a segment that is not in the trace decides whether the kernel counted them.
	Unsure int64
}

// KernelCounters holds a trace against the kernel's own counters in one namespace.
type KernelCounters struct {
	NetNS    uint32 // inode number
	Filtered bool   // the trace left something out on purpose: nothing can be compared
	Counters [CounterEnd]Counted
}

// Differs reports whether the kernel's count is not the trace's.
func (k *KernelCounters) Differs(c Counter) bool {
	n := k.Counters[c]
	if c == CounterTW && n.Kernel != Unknown {
		n.Kernel += max(k.Counters[CounterTWKilled].Kernel, 0)
	}
	if k.Filtered || n.Kernel == Unknown || n.Ours == Unknown {
		return false
	}
	diff := n.Kernel - n.Ours
	return diff > n.Unsure || -diff > n.Unsure
}

// NewKernelCounters returns one in which nothing is known yet.
func NewKernelCounters(netns uint32) KernelCounters {
	k := KernelCounters{NetNS: netns}
	for c := range k.Counters {
		k.Counters[c] = Counted{Kernel: Unknown, Ours: Unknown}
	}
	return k
}

// Any reports whether anything was counted, by the kernel or by the trace.
func (k *KernelCounters) Any() bool {
	for _, n := range k.Counters {
		if n.Kernel > 0 || n.Ours > 0 || n.Unsure > 0 {
			return true
		}
	}
	return false
}
