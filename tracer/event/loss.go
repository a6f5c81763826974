// SPDX-License-Identifier: Apache-2.0

package event

// LossReason says why facts are missing from a trace.
type LossReason uint8

// The reasons, in the order in which a fact meets them.
const (
	LossUnknown   LossReason = iota
	LossRecursion            // a program was skipped because it was already running on that CPU
	LossMapFull              // more live sockets than --max-sockets: a socket is not remembered
	LossRingFull             // the reader was too slow: a fact was dropped
	LossBadRecord            // a record could not be decoded
	LossEvicted              // more connections than user space follows: the oldest was dropped
)

// LossReasons is every reason, for tables that show all of them, at zero too.
var LossReasons = []LossReason{LossRecursion, LossMapFull, LossRingFull, LossBadRecord, LossEvicted}

var lossNames = []string{"", "recursion", "map_full", "ring_full", "bad_record", "evicted"}

func (r LossReason) String() string { return name(lossNames, r) }

// ParseLossReason is the inverse of LossReason.String.
func ParseLossReason(s string) (LossReason, bool) { return parse[LossReason](lossNames, s) }

// Loss says that facts are missing.
type Loss struct {
	KTime  int64 // when it was noticed, CLOCK_MONOTONIC, nanoseconds
	Since  int64 // when it was last known that nothing more was missing
	Reason LossReason
	Count  uint64 // how many since then
	// Details: a process or an errno may be missing; every step of every socket was seen.
	Details bool
}
