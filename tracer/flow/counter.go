// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"syscall"

	"finwait/tracer/event"
)

// Counter is told of everything that the kernel counts too, with the moment at which the
// kernel side saw it. Where sure is false, the kernel may have counted it or not.
type Counter interface {
	Count(netns uint32, ktime int64, c event.Counter, sure bool)
}

func (f *Flow) count(s *event.Sample, c event.Counter, sure bool) {
	if f.opt.Counter != nil {
		f.opt.Counter.Count(s.NetNS, s.KTime, c, sure)
	}
}

// countEnd counts a step to CLOSE that the kernel counts as an abort, or as a TIME_WAIT
// that could not be.
func (f *Flow) countEnd(s *event.Sample, t *event.Transition) {
	if f.opt.Counter == nil {
		return
	}
	if t.TimeWait != nil {
		f.count(s, event.CounterOverflow, true)
	}
	early := s.Old == event.SynSent || s.Old == event.SynRecv
	switch t.Call {
	case event.MethodUnreadData:
		f.count(s, event.CounterAbortOnClose, true)
	case event.MethodLinger0:
		f.count(s, event.CounterAbortOnData, true)
	case event.MethodLinger2:
		// tcp_close() in FIN_WAIT2; or tcp_rcv_state_process(), when the FIN is acknowledged later.
		if s.Has(event.FlagCall) {
			f.count(s, event.CounterAbortOnLinger, true)
		} else {
			f.count(s, event.CounterAbortOnData, true)
		}
	case event.MethodDataAfterClose:
		f.count(s, event.CounterAbortOnData, true)
	case event.MethodUnknown:
		if !s.Has(event.FlagCall) {
			f.countSilent(s, early)
		}
	default:
		// tcp_close() looks at SO_LINGER before the handshake is over, too.
		if early && s.Has(event.FlagClosing|event.FlagLinger0) {
			f.count(s, event.CounterAbortOnData, true)
		}
	}
}

// countSilent is for steps that no call made: segments and timers.
func (f *Flow) countSilent(s *event.Sample, early bool) {
	switch errno := syscall.Errno(s.Errno); errno {
	case 0:
	case syscall.ECONNRESET, syscall.EPIPE:
		// An RST by the peer; or tcp_reset() of our own, because data came after close().
		if s.Has(event.FlagShutBoth) {
			f.count(s, event.CounterAbortOnData, false)
		}
	case syscall.ECONNREFUSED, syscall.ECONNABORTED:
	default:
		// tcp_write_err(). During the handshake an ICMP error ends the attempt at once, uncounted.
		f.count(s, event.CounterAbortTimeout, !early || errno == syscall.ETIMEDOUT)
	}
}
