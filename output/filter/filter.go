// SPDX-License-Identifier: Apache-2.0

// Package filter chooses records: the exact choice, made by the same code for live
// and replay. What the kernel side leaves out before is never more than this.
package filter

import (
	"net/netip"
	"strings"

	"finwait/tracer/event"
)

// Filter is a choice of records; every field that is set must match. The zero value
// chooses all.
type Filter struct {
	PID                 uint32
	Comm                string // the whole name, as the kernel keeps it: 15 bytes
	Cgroup              string // this cgroup v2 path and what is below it
	Container           string // this id, or a beginning of it
	LocalPort, PeerPort event.PortRange
	Local, Peer         netip.Prefix
	Family              uint8
	NetNS               uint32
	Closer              event.Closer
	Method              event.Method
}

// Socket reports whether records about this socket and process are chosen.
func (f *Filter) Socket(s *event.Socket, p *event.Process) bool {
	switch {
	case !f.LocalPort.Contains(s.Local.Port()), !f.PeerPort.Contains(s.Peer.Port()),
		f.Family != 0 && s.Family != f.Family,
		f.NetNS != 0 && s.NetNS != f.NetNS,
		f.Local.IsValid() && !f.Local.Contains(s.Local.Addr()),
		f.Peer.IsValid() && !f.Peer.Contains(s.Peer.Addr()),
		f.PID != 0 && p.PID != f.PID,
		f.Comm != "" && p.Comm.String() != f.Comm,
		f.Cgroup != "" && p.Cgroup != f.Cgroup && !strings.HasPrefix(p.Cgroup, strings.TrimSuffix(f.Cgroup, "/")+"/"),
		f.Container != "" && !strings.HasPrefix(p.Container, f.Container):
		return false
	}
	return true
}

// Verdict reports whether records with this verdict are chosen.
func (f *Filter) Verdict(c event.Closer, m event.Method) bool {
	return (f.Closer == event.CloserUnknown || f.Closer == c) && (f.Method == event.MethodUnknown || f.Method == m)
}

// AnyVerdict reports whether the filter asks for no verdict, so that records without
// one are chosen too.
func (f *Filter) AnyVerdict() bool {
	return f.Closer == event.CloserUnknown && f.Method == event.MethodUnknown
}
