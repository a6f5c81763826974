// SPDX-License-Identifier: Apache-2.0

package event

// enum is any of the small named sets below: the zero value is "unknown" and has no name.
type enum interface{ ~uint8 }

func name[E enum](names []string, e E) string {
	if int(e) < len(names) {
		return names[e]
	}
	return ""
}

func parse[E enum](names []string, s string) (E, bool) {
	for i, n := range names {
		if n == s && i > 0 {
			return E(i), true
		}
	}
	return 0, false
}

// Role says which end of the connection a socket is.
type Role uint8

// Client called connect(); Server was made by a listening socket.
const (
	RoleUnknown Role = iota
	Client
	Server
	roleEnd
)

var roleNames = []string{"", "client", "server"}

func (r Role) String() string { return name(roleNames, r) }

// ParseRole is the inverse of Role.String.
func ParseRole(s string) (Role, bool) { return parse[Role](roleNames, s) }

// Attribution says how the process on a record is known.
type Attribution uint8

// Exact: the process made this very call. Cached: it made an earlier call on this
// socket and still held it. Seeded: it held the descriptor when tracing began.
const (
	AttributionUnknown Attribution = iota
	Exact
	Cached
	Seeded
	attributionEnd
)

var attributionNames = []string{"unknown", "exact", "cached", "seeded"}

func (a Attribution) String() string { return name(attributionNames, a) }

// ParseAttribution is the inverse of Attribution.String.
func ParseAttribution(s string) (Attribution, bool) {
	if s == attributionNames[0] {
		return AttributionUnknown, true
	}
	return parse[Attribution](attributionNames, s)
}

// Closer says who closed the connection first, seen from one socket.
type Closer uint8

// CloserKernel: neither end closed; a timeout or an abort from outside ended it.
const (
	CloserUnknown Closer = iota
	CloserLocal
	CloserPeer
	CloserBoth
	CloserKernel
)

var closerNames = []string{"", "local", "peer", "both", "kernel"}

func (c Closer) String() string { return name(closerNames, c) }

// ParseCloser is the inverse of Closer.String.
func ParseCloser(s string) (Closer, bool) { return parse[Closer](closerNames, s) }

// Method says how a connection, or one end of it, was closed.
type Method uint8

// The methods. The first group is a local call, the second the peer's segment, the
// third the kernel's own doing.
const (
	MethodUnknown Method = iota
	MethodClose
	MethodShutdown
	MethodExit       // the process was exiting, or was killed
	MethodLinger0    // close() with SO_LINGER 0: RST
	MethodUnreadData // close() with data not yet read: RST
	MethodDisconnect // connect(AF_UNSPEC): RST
	MethodListener   // the listening socket was closed before anyone accepted: RST
	MethodLinger2    // close() with TCP_LINGER2 < 0: RST instead of FIN_WAIT2

	MethodFin
	MethodRst

	MethodTimeout
	MethodAbort
	MethodDataAfterClose // data came after close(): the kernel answers with RST
)

var methodNames = []string{
	"", "close", "shutdown", "exit", "linger0", "unread_data", "disconnect", "listener_close", "linger2",
	"fin", "rst",
	"timeout", "abort", "data_after_close",
}

func (m Method) String() string { return name(methodNames, m) }

// ParseMethod is the inverse of Method.String.
func ParseMethod(s string) (Method, bool) { return parse[Method](methodNames, s) }

// MethodNames lists every method, for messages about bad input.
func MethodNames() []string { return methodNames[1:] }

// EndReason says why a TIME_WAIT, or an orphan's FIN_WAIT2, ended.
type EndReason uint8

// EndOverflow: it was never entered, tcp_max_tw_buckets or memory forbade it.
// EndOpen: the trace ended first. EndUnknown: cut short, and nothing showed why.
const (
	EndNone EndReason = iota
	EndExpired
	EndReusedByConnect
	EndReusedBySyn
	EndReset
	EndNamespaceExit
	EndOverflow
	EndOpen
	EndUnknown
)

var endNames = []string{
	"", "expired", "reused_by_connect", "reused_by_syn", "reset", "namespace_exit", "overflow", "open", "unknown",
}

func (r EndReason) String() string { return name(endNames, r) }

// ParseEndReason is the inverse of EndReason.String.
func ParseEndReason(s string) (EndReason, bool) { return parse[EndReason](endNames, s) }
