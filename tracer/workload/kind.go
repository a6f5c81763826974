// SPDX-License-Identifier: Apache-2.0

package workload

import "slices"

// Kind names one way in which a connection ends, or fails to begin.
type Kind string

// The kinds, in the order the demo tells them.
const (
	ClientFirst    Kind = "client_first"
	ServerFirst    Kind = "server_first"
	HalfClose      Kind = "half_close"
	Simultaneous   Kind = "simultaneous"
	OrphanFinWait2 Kind = "orphan_fin_wait2"
	Linger0        Kind = "linger0"
	Linger0Server  Kind = "linger0_server"
	UnreadData     Kind = "unread_data"
	Sigkill        Kind = "sigkill"
	ForkChild      Kind = "fork_child"
	Thread         Kind = "thread"
	PeerRST        Kind = "peer_rst"
	Timeout        Kind = "timeout"
	Abort          Kind = "abort"
	TWReused       Kind = "tw_reused"
	TWSyn          Kind = "tw_syn"
	TWRst          Kind = "tw_rst"
	TWFinAgain     Kind = "tw_fin_again"
	TWOverflow     Kind = "tw_overflow"
	NoPort         Kind = "no_port"
	Refused        Kind = "refused"
	IPv6           Kind = "ipv6"
	V4Mapped       Kind = "v4_mapped"
)

// stories also gives the kinds their order and, by index, their code in a greeting.
var stories = []struct {
	kind  Kind
	story string
}{
	{ClientFirst, "the client calls close() first and keeps TIME_WAIT"},
	{ServerFirst, "the server calls close() first and keeps TIME_WAIT"},
	{HalfClose, "the client calls shutdown(SHUT_WR), the server answers and closes"},
	{Simultaneous, "both FINs cross: FIN_WAIT1, CLOSING, TIME_WAIT"},
	{OrphanFinWait2, "the client closes, the server does not: an orphan in FIN_WAIT2"},
	{Linger0, "the client closes with SO_LINGER 0: an RST, no TIME_WAIT"},
	{Linger0Server, "the server closes with SO_LINGER 0: an RST, no TIME_WAIT"},
	{UnreadData, "the client closes with unread data: an RST, no TIME_WAIT"},
	{Sigkill, "the client is killed: the kernel closes for it"},
	{ForkChild, "the server hands its socket to another process, which closes it"},
	{Thread, "a thread that is not the process's first one closes"},
	{PeerRST, "the peer answers data with an RST"},
	{Timeout, "the peer falls silent: TCP_USER_TIMEOUT ends the connection"},
	{Abort, "somebody destroys the socket from outside, as ss -K does"},
	{TWReused, "connect() takes the 4-tuple over from TIME_WAIT"},
	{TWSyn, "the same client's next SYN reopens a server's TIME_WAIT"},
	{TWRst, "an RST ends TIME_WAIT early"},
	{TWFinAgain, "the peer repeats its FIN: TIME_WAIT starts again"},
	{TWOverflow, "tcp_max_tw_buckets is reached: TIME_WAIT is skipped"},
	{NoPort, "connect() finds no free local port"},
	{Refused, "nobody listens: connect() is refused"},
	{IPv6, "the client closes first, over IPv6"},
	{V4Mapped, "the client closes first, IPv4 through an IPv6 socket"},
}

// Kinds returns every kind, in the order the demo tells them.
func Kinds() []Kind {
	kinds := make([]Kind, len(stories))
	for i, s := range stories {
		kinds[i] = s.kind
	}
	return kinds
}

// Story says in one line what happens; empty for an unknown kind.
func (k Kind) Story() string {
	if i := k.code(); i >= 0 {
		return stories[i].story
	}
	return ""
}

// Scripted reports whether the peer is made of hand-written segments rather than a
// kernel socket, so that the ledger has a client side only.
func (k Kind) Scripted() bool {
	switch k {
	case Simultaneous, PeerRST, Timeout, TWRst, TWFinAgain:
		return true
	}
	return false
}

// code is -1 for an unknown kind.
func (k Kind) code() int {
	return slices.IndexFunc(stories, func(s struct {
		kind  Kind
		story string
	}) bool {
		return s.kind == k
	})
}

func kindOf(code int) (Kind, bool) {
	if code < 0 || code >= len(stories) {
		return "", false
	}
	return stories[code].kind, true
}
