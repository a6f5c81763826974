// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"time"

	"finwait/tracer/event"
)

// timeWait reads how a TIME_WAIT went.
func (p *parser) timeWait() {
	s, i := &p.scan, &p.rec.timeWait
	*i = event.TimeWaitInfo{Duration: event.Unknown, Late: event.Unknown}
	p.rec.Transition.TimeWait = i
	s.open('{')
	for {
		key, ok := s.more()
		if !ok {
			break
		}
		switch string(key) {
		case "duration_ns":
			i.Duration = time.Duration(s.uint(1<<63 - 1))
		case "end_reason":
			i.End, _ = event.ParseEndReason(s.name())
		case "restarts":
			i.Restarts = int(s.uint(1<<31 - 1))
		case "late_ns":
			i.Late = time.Duration(s.int())
		case "inferred":
			i.Inferred = s.bool()
		case "successor":
			p.successor(i)
		default:
			s.skip(0)
		}
	}
	if i.End == event.EndOverflow { // it never was: no time, rather than one that is not known
		i.Duration, i.Restarts = 0, 0
	}
}

func (p *parser) successor(i *event.TimeWaitInfo) {
	s := &p.scan
	s.open('{')
	for {
		key, ok := s.more()
		if !ok {
			return
		}
		switch string(key) {
		case "cookie":
			i.SuccessorCookie = s.id()
		case "process":
			p.procs.read(s, &i.Successor)
		default:
			s.skip(0)
		}
	}
}
