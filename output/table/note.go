// SPDX-License-Identifier: Apache-2.0

package table

import (
	"strconv"
	"time"

	"finwait/tracer/event"
)

// calls is how a reader names what a process did.
var calls = map[event.Method]string{
	event.MethodClose:          "close()",
	event.MethodShutdown:       "shutdown()",
	event.MethodExit:           "process exit",
	event.MethodLinger0:        "close() with SO_LINGER 0: RST",
	event.MethodUnreadData:     "close() with unread data: RST",
	event.MethodDisconnect:     "connect(AF_UNSPEC): RST",
	event.MethodListener:       "listener closed before accept(): RST",
	event.MethodLinger2:        "close() with TCP_LINGER2 < 0: RST",
	event.MethodDataAfterClose: "data arrived after close(): RST sent",
}

var signals = map[uint8]string{1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM"}

func (r *row) call(m event.Method, t *event.Transition) {
	if m == event.MethodUnreadData && t.Unread > 0 {
		unit := " unread bytes: RST"
		if t.Unread == 1 {
			unit = " unread byte: RST"
		}
		r.add("close() with ", strconv.FormatInt(t.Unread, 10), unit)
		return
	}
	r.add(calls[m])
	if t.Process.Signal != 0 && t.Call != event.MethodUnknown {
		name, ok := signals[t.Process.Signal]
		if !ok {
			name = "signal " + strconv.Itoa(int(t.Process.Signal))
		}
		r.add(" (", name, ")")
	}
}

// who names the other end's process, when that is on this host.
func (r *row) who(p *event.Process) {
	if p.Known() {
		r.add(" (")
		r.name(&p.Comm)
		r.add("[", strconv.FormatUint(uint64(p.PID), 10), "])")
	}
}

// note says in a few words what the step means.
func (r *row) note(t *event.Transition) {
	switch {
	case (t.Old == event.SynSent || t.Old == event.SynRecv) && t.New == event.Close:
		r.connectNote(t)
	case t.TimeWait != nil:
		r.timeWaitNote(t.TimeWait)
	case t.Orphan != event.EndNone:
		r.orphanNote(t)
	case t.New == event.FinWait1:
		if t.Closer == event.CloserLocal {
			r.add("closed first: ")
		}
		r.call(t.Call, t)
	case t.New == event.CloseWait:
		r.add("peer closed first")
		r.who(&t.PeerProcess)
	case t.New == event.Closing:
		r.add("both closed at once")
		r.who(&t.PeerProcess)
	case t.New == event.Close:
		r.closeNote(t)
	case t.Call != event.MethodUnknown:
		r.call(t.Call, t)
	}
	if t.Incomplete {
		r.sep()
		r.add("steps before this one were lost")
	}
	if t.Existed && t.Old == event.Established {
		r.sep()
		r.add("older than the trace")
	}
}

func (r *row) connectNote(t *event.Transition) {
	switch {
	case t.Errno == 99:
		r.add("connect() failed: EADDRNOTAVAIL, no free local port to this peer")
	case t.Errno != 0:
		r.add("connect() failed: ", event.ErrnoName(t.Errno))
	case t.Call != event.MethodUnknown:
		r.add("given up: ")
		r.call(t.Call, t)
	}
}

func (r *row) closeNote(t *event.Transition) {
	switch {
	case t.Call != event.MethodUnknown:
		if t.Old == event.Established && t.Closer == event.CloserLocal {
			r.add("closed first: ")
		}
		r.call(t.Call, t)
	case t.Method == event.MethodListener:
		r.add("closed first: ", calls[t.Method])
	case t.Errno == 104 || t.Errno == 32:
		r.add("RST from the peer (", event.ErrnoName(t.Errno), ")")
		r.who(&t.PeerProcess)
	case t.Errno == 103:
		r.add("aborted from outside (ECONNABORTED), as ss -K does")
	case t.Errno != 0:
		r.add("given up by the kernel (", event.ErrnoName(t.Errno), ")")
	}
}

func (r *row) timeWaitNote(i *event.TimeWaitInfo) {
	switch i.End {
	case event.EndExpired:
		r.add("expired")
		if i.Late >= 0 {
			r.add(", ", seconds(i.Late), " s late")
		}
	case event.EndReusedByConnect:
		r.add("port taken over by connect()")
		r.who(&i.Successor)
	case event.EndReusedBySyn:
		r.add("reopened by a new SYN from the peer")
	case event.EndReset:
		r.add("ended early by an RST from the peer")
	case event.EndNamespaceExit:
		r.add("its network namespace went away")
	case event.EndOverflow:
		r.add("TIME_WAIT skipped: tcp_max_tw_buckets reached")
	case event.EndOpen:
		r.add("still open when the trace ended")
	case event.EndUnknown:
		r.add("ended early, the reason was not seen")
	}
	if i.Restarts > 0 {
		r.add(", restarted ", strconv.Itoa(i.Restarts), "× by the peer")
	}
	if i.Inferred {
		r.add(" (from the timer)")
	}
}

func (r *row) orphanNote(t *event.Transition) {
	switch t.Orphan {
	case event.EndExpired:
		r.add("the peer never sent its FIN: dropped after tcp_fin_timeout")
	case event.EndReset:
		r.add("the peer answered with RST")
	case event.EndOpen:
		r.add("still waiting for the peer's FIN when the trace ended")
	case event.EndNamespaceExit:
		r.add("its network namespace went away")
	default:
		r.add("ended before the peer's FIN came")
	}
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64)
}
