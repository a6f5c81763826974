// SPDX-License-Identifier: Apache-2.0

package table

import (
	"cmp"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"finwait/tracer/event"
)

// Sockets writes what exists: one line for those of one holder, state and service, or for each.
type Sockets struct {
	w    io.Writer
	opt  Options
	each bool
}

// NewSockets returns a writer of sockets; each is one line for each of them.
func NewSockets(w io.Writer, opt Options, each bool) *Sockets {
	return &Sockets{w: w, opt: opt, each: each}
}

// crowd is the sockets of one line.
type crowd struct {
	*event.Seen // the one that has been there longest
	count       int
	unread      int64
	oldest      time.Duration // at least; Unknown
	ceiling     time.Duration // of the oldest, at most; Unknown
	locals      map[netip.AddrPort]bool
	peers       map[netip.Addr]bool
}

// crowdKey says what goes on one line.
type crowdKey struct {
	state   event.State
	role    event.Role
	netns   uint32
	port    uint16     // of the service: the server's local port, or the peer's
	peer    netip.Addr // of a client
	holders string
	cookie  uint64 // one for each
	local   netip.AddrPort
	remote  netip.AddrPort
}

// lasting is the order of states: those first that last only because a program lets them.
var lasting = []event.State{
	event.CloseWait, event.Close, event.FinWait2, event.LastAck, event.FinWait1, event.Closing,
	event.SynSent, event.SynRecv, event.Established, event.TimeWait,
}

// Write writes a table.
func (t *Sockets) Write(list []*event.Seen) error {
	crowds := t.crowds(list)
	cols := []column{
		{"STATE", 0, false}, {"COUNT", 0, true}, {"FOR AT LEAST", 0, true}, {"AT MOST", 0, true}, {"UNREAD", 0, true},
		{"ROLE", 0, false}, {"LOCAL", 0, false}, {"PEER", 0, false},
	}
	several := t.opt.Wide
	for _, c := range crowds {
		several = several || c.NetNS != crowds[0].NetNS
	}
	if several {
		cols = append(cols, column{"NETNS", 0, true})
	}
	cols = append(cols, column{"HELD BY", 0, false})
	for _, w := range []*Writer{{w: io.Discard, cols: cols, opt: Options{Header: t.opt.Header}}, {w: t.w, opt: t.opt, cols: cols}} {
		if err := w.header(); err != nil {
			return err
		}
		for _, c := range crowds {
			if err := w.crowd(c, several); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Sockets) crowds(list []*event.Seen) []*crowd {
	index := map[crowdKey]*crowd{}
	var all []*crowd
	for _, s := range list {
		k := crowdKey{state: s.State, role: s.Role, netns: s.NetNS, holders: holders(s)}
		if s.Role == event.Server {
			k.port = s.Local.Port()
		} else {
			k.port, k.peer = s.Peer.Port(), s.Peer.Addr()
		}
		if t.each {
			k.cookie, k.local, k.remote = s.Cookie, s.Local, s.Peer
		}
		c := index[k]
		if c == nil {
			c = &crowd{Seen: s, oldest: event.Unknown, ceiling: event.Unknown, locals: map[netip.AddrPort]bool{}, peers: map[netip.Addr]bool{}}
			index[k] = c
			all = append(all, c)
		}
		c.add(s)
	}
	slices.SortStableFunc(all, func(a, b *crowd) int {
		return cmp.Or(cmp.Compare(slices.Index(lasting, a.State), slices.Index(lasting, b.State)),
			cmp.Compare(b.count, a.count), cmp.Compare(b.oldest, a.oldest), a.Local.Compare(b.Local), a.Peer.Compare(b.Peer))
	})
	return all
}

func (c *crowd) add(s *event.Seen) {
	c.count++
	c.unread += max(s.Unread, 0)
	c.locals[s.Local] = true
	c.peers[s.Peer.Addr()] = true
	if atLeast, atMost := s.Lasting(); atLeast > c.oldest {
		c.Seen, c.oldest, c.ceiling = s, atLeast, atMost
	}
}

// holders are the processes of a socket, as its line names them.
func holders(s *event.Seen) string {
	var r row
	for i, p := range s.Owners {
		if i > 0 {
			r.add(", ")
		}
		r.name(&p.Comm)
		r.add("[", strconv.FormatUint(uint64(p.PID), 10), "]")
	}
	switch {
	case len(s.Owners) > 0:
		return string(r.b)
	case s.Has(event.SeenMini) || s.Has(event.SeenOrphan):
		return "nobody: it is closed"
	case s.Role == event.Server:
		return "not accepted yet, or not known"
	}
	return "-"
}

func (w *Writer) crowd(c *crowd, several bool) error {
	r := &w.row
	r.begin(w.cols)
	cell := func(s string) {
		r.add(s)
		r.next()
	}
	age := func(d time.Duration) {
		if d < 0 {
			cell("-")
		} else {
			cell(span(d))
		}
	}
	cell(c.State.String())
	cell(strconv.Itoa(c.count))
	age(c.oldest)
	age(c.ceiling)
	cell(strconv.FormatInt(c.unread, 10))
	r.orDash(c.Role.String())
	switch {
	case len(c.locals) == 1:
		cell(c.Local.String())
	case c.Role == event.Server:
		cell("*:" + strconv.Itoa(int(c.Local.Port())))
	default:
		cell(strconv.Itoa(len(c.locals)) + " ports")
	}
	switch {
	case c.count == 1 || c.Role != event.Server:
		cell(c.Peer.String())
	case len(c.peers) == 1:
		cell(c.Peer.Addr().String())
	default:
		cell(strconv.Itoa(len(c.peers)) + " peers")
	}
	if several {
		cell(strconv.FormatUint(uint64(c.NetNS), 10))
	}
	r.add(holders(c.Seen))
	color := ""
	if c.State == event.CloseWait && c.oldest >= time.Minute {
		color = colorRed
	}
	return w.flush(color)
}
