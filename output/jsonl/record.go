// SPDX-License-Identifier: Apache-2.0

package jsonl

import "finwait/tracer/event"

// Type says what a [Record] is.
type Type uint8

// The types of records that a Reader hands out. TypeOther is one that it does not know.
const (
	TypeOther Type = iota
	TypeStart
	TypeTransition
	TypeConnectError
	TypeRelease
	TypeLoss
	TypeEnd
	TypeClose // a verdict: skipped, the transitions lead to it again
)

var typeNames = [...]string{"", "trace_start", "transition", "connect_error", "release", "loss", "trace_end", "close"}

func (t Type) String() string { return typeNames[t] }

func parseType(s string) Type {
	if s == typeNames[TypeTransition] {
		return TypeTransition
	}
	for t := TypeStart; t <= TypeClose; t++ {
		if typeNames[t] == s {
			return t
		}
	}
	return TypeOther
}

// Record is one record; the field that Type names is valid.
type Record struct {
	Type  Type
	KTime int64       // CLOCK_MONOTONIC, nanoseconds
	Clock event.Clock // that its timestamp was made with

	Transition   event.Transition
	ConnectError event.ConnectError
	Release      event.Release
	Loss         event.Loss
	Start        *event.Start
	End          *event.End

	timeWait event.TimeWaitInfo // that Transition refers to
}

// Wall is the record's timestamp, nanoseconds since 1970.
func (r *Record) Wall() int64 { return r.KTime + r.Clock.Offset }

// Handler takes the records of a trace.
type Handler interface {
	Start(*event.Start) error
	Transition(*event.Transition) error
	ConnectError(*event.ConnectError) error
	Release(*event.Release) error
	Loss(*event.Loss) error
	End(*event.End) error
}

// Hand gives the record to h.
func (r *Record) Hand(h Handler) error {
	switch r.Type {
	case TypeTransition:
		return h.Transition(&r.Transition)
	case TypeConnectError:
		return h.ConnectError(&r.ConnectError)
	case TypeRelease:
		return h.Release(&r.Release)
	case TypeLoss:
		return h.Loss(&r.Loss)
	case TypeStart:
		return h.Start(r.Start)
	case TypeEnd:
		return h.End(r.End)
	}
	return nil
}
