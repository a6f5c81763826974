// SPDX-License-Identifier: Apache-2.0

package event

// State is a TCP state, numbered as in the kernel's include/net/tcp_states.h.
type State uint8

// The TCP states. NewSynRecv and what follows never reach a record.
const (
	StateUnknown State = iota
	Established
	SynSent
	SynRecv
	FinWait1
	FinWait2
	TimeWait
	Close
	CloseWait
	LastAck
	Listen
	Closing
	stateEnd
)

var stateNames = [...]string{
	StateUnknown: "",
	Established:  "ESTABLISHED",
	SynSent:      "SYN_SENT",
	SynRecv:      "SYN_RECV",
	FinWait1:     "FIN_WAIT1",
	FinWait2:     "FIN_WAIT2",
	TimeWait:     "TIME_WAIT",
	Close:        "CLOSE",
	CloseWait:    "CLOSE_WAIT",
	LastAck:      "LAST_ACK",
	Listen:       "LISTEN",
	Closing:      "CLOSING",
}

// Valid reports whether s is a state that a socket can be in.
func (s State) Valid() bool { return s > StateUnknown && s < stateEnd }

// String returns the kernel's name of the state, as `ss` and interface files spell it; empty when unknown.
func (s State) String() string {
	if s < stateEnd {
		return stateNames[s]
	}
	return ""
}

// ParseState returns the state with the kernel's name; StateUnknown when there is none.
func ParseState(name string) State {
	for s := Established; s < stateEnd; s++ {
		if stateNames[s] == name {
			return s
		}
	}
	return StateUnknown
}
