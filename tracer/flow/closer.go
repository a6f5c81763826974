// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"syscall"

	"finwait/tracer/event"
)

// call says which local call made this step; none when a segment or a timer did.
func call(s *event.Sample) event.Method {
	if !s.Has(event.FlagCall) {
		return event.MethodUnknown
	}
	switch s.New {
	case event.FinWait1, event.LastAck:
		return politeCall(s)
	case event.Close:
		// tcp_close() answers unread data with RST before it looks at SO_LINGER.
		switch {
		case s.Old == event.SynSent || s.Old == event.SynRecv:
			if s.Has(event.FlagShutBoth) {
				return politeCall(s)
			}
			return event.MethodUnknown
		case !s.Has(event.FlagShutBoth):
			return event.MethodDisconnect
		case s.Unread > 0:
			return event.MethodUnreadData
		case s.Has(event.FlagLinger0):
			return event.MethodLinger0
		case s.Has(event.FlagLinger2) && s.Old == event.FinWait2:
			return event.MethodLinger2
		}
		return politeCall(s)
	}
	return event.MethodUnknown
}

func politeCall(s *event.Sample) event.Method {
	switch {
	case !s.Has(event.FlagClosing):
		return event.MethodShutdown
	case s.Has(event.FlagExiting):
		return event.MethodExit
	}
	return event.MethodClose
}

// verdict says who closed first, given the first closing step of a connection that was
// seen. Where the very first one is older than the trace, or was lost, the state that it
// led to still tells whose it was.
func verdict(s *event.Sample, by event.Method) (event.Closer, event.Method) {
	switch s.Old {
	case event.CloseWait, event.LastAck:
		return event.CloserPeer, event.MethodFin
	case event.FinWait1, event.FinWait2:
		if s.New == event.Closing {
			return event.CloserBoth, event.MethodUnknown
		}
		return event.CloserLocal, event.MethodUnknown
	case event.Closing:
		return event.CloserBoth, event.MethodUnknown
	}
	switch s.New {
	case event.FinWait1:
		return event.CloserLocal, by
	case event.CloseWait:
		return event.CloserPeer, event.MethodFin
	case event.Close:
	default:
		return event.CloserUnknown, event.MethodUnknown
	}
	if by != event.MethodUnknown {
		return event.CloserLocal, by
	}
	switch syscall.Errno(s.Errno) {
	case 0:
		// A listening socket that goes away takes the connections with it that nobody
		// has accepted: tcp_disconnect() in inet_child_forget().
		if s.Has(event.FlagUnaccepted) {
			return event.CloserLocal, event.MethodListener
		}
		return event.CloserKernel, event.MethodUnknown
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED:
		return event.CloserPeer, event.MethodRst
	case syscall.ECONNABORTED:
		return event.CloserKernel, event.MethodAbort
	}
	// tcp_write_err(): ETIMEDOUT, or what a router said of the silent peer.
	return event.CloserKernel, event.MethodTimeout
}
