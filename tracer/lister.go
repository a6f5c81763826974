// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"finwait/bpf"
	"finwait/tracer/event"
)

// Lister lists the TCP sockets of this host and who holds them, without tracing anything.
type Lister struct {
	coll    *ebpf.Collection
	tick    time.Duration
	cookies bool // the iterator itself gives sockets their cookies
}

// The wire of bpf/snapshot.h.
const (
	seenSize = 128
	heldSize = 192
)

// OpenLister loads the iterators; types, if not empty, names a file with the kernel's type
// information. Errors wrap ErrPrivilege, ErrKernel or ErrTypes where that is the cause.
// Close must be called.
func OpenLister(types string) (*Lister, error) {
	l := &Lister{}
	var opt ebpf.CollectionOptions
	var err error
	if opt.Programs.KernelTypes, opt.Cache, err = ready(types); err != nil {
		return nil, err
	}
	if err := removeMemlock(); err != nil {
		return nil, err
	}
	if l.tick, err = Tick(); err != nil {
		return nil, err
	}
	for _, h := range helperSets {
		if l.coll, err = loadLister(h, opt); err == nil {
			l.cookies = h.cookie
			return l, nil
		}
		if errors.Is(err, ebpf.ErrNotSupported) || isPrivilege(err) {
			break
		}
	}
	return nil, refusal("load the iterators", err)
}

func loadLister(h helpers, opt ebpf.CollectionOptions) (*ebpf.Collection, error) {
	spec, err := bpf.LoadFinwait()
	if err != nil {
		return nil, fmt.Errorf("read the BPF object: %w", err)
	}
	for name := range spec.Programs {
		if name != "list_tcp" && name != "list_held" {
			delete(spec.Programs, name)
		}
	}
	for name := range spec.Maps {
		if !strings.HasPrefix(name, ".") { // the constants
			delete(spec.Maps, name)
		}
	}
	if err := h.set(spec); err != nil {
		return nil, err
	}
	return ebpf.NewCollectionWithOptions(spec, opt)
}

// Close releases the iterators.
func (l *Lister) Close() { l.coll.Close() }

// Look lists what exists now, in one network namespace (by inode number) or, for 0, in all.
func (l *Lister) Look(netns uint32) (*event.Look, error) {
	look := &event.Look{KTime: Now()}
	namespaces, err := listNamespaces()
	if err != nil {
		return nil, err
	}
	inside := map[uint32]bool{}
	for _, ns := range namespaces {
		if netns != 0 && netns != ns.Inode {
			continue
		}
		err := ns.enter(func() error {
			ns.settings()
			opens, err := activeOpens()
			if err != nil {
				look.Errs = append(look.Errs, err)
			}
			look.Namespaces = append(look.Namespaces, event.SeenNamespace{
				Namespace: event.Namespace{Inode: ns.Inode, Settings: ns.Settings}, ActiveOpens: opens,
			})
			inside[ns.Inode] = true
			if !l.cookies {
				if err := giveCookies(); err != nil {
					look.Errs = append(look.Errs, err)
				}
			}
			return eachRecord(l.coll.Programs["list_tcp"], seenSize, func(raw []byte) {
				var s event.Seen
				l.decode(raw, &s)
				look.Sockets = append(look.Sockets, s)
			})
		})
		if err != nil {
			look.Errs = append(look.Errs, fmt.Errorf("list the sockets of network namespace %d: %w", ns.Inode, err))
		}
	}
	if err := l.owners(look, inside); err != nil {
		look.Errs = append(look.Errs, fmt.Errorf("list the owners of sockets: %w", err))
	}
	look.Took = time.Duration(Now() - look.KTime)
	return look, nil
}

// owners gives each socket the processes that hold it. A socket that only a descriptor
// shows, bound but neither connected nor listening, joins the list.
func (l *Lister) owners(look *event.Look, inside map[uint32]bool) error {
	type processID struct {
		start uint64
		pid   uint32
	}
	byID := make(map[uint64]int, len(look.Sockets))
	for i := range look.Sockets {
		if s := &look.Sockets[i]; !s.Has(event.SeenMini) {
			byID[s.ID] = i
		}
	}
	processes := map[processID]*event.Process{}
	return eachRecord(l.coll.Programs["list_held"], heldSize, func(raw []byte) {
		var s event.Seen
		var o event.Owner
		l.decode(raw, &s)
		if !inside[s.NetNS] {
			return
		}
		at, ok := byID[s.ID]
		switch {
		case !ok && s.State == event.Close && s.Local.Port() != 0:
			at = len(look.Sockets)
			byID[s.ID] = at
			look.Sockets = append(look.Sockets, s)
		case !ok, look.Sockets[at].Cookie != s.Cookie, look.Sockets[at].Local != s.Local:
			return // made since, or another one at the same address
		}
		decodeOwner(raw[seenSize:], &o)
		id := processID{o.StartNS, o.PID}
		p := processes[id]
		if p == nil {
			p = &event.Process{PID: o.PID, TID: o.TID, UID: o.UID, StartNS: o.StartNS, Comm: o.Comm, Thread: o.Thread}
			processes[id] = p
		}
		held := &look.Sockets[at]
		for _, other := range held.Owners {
			if other == p {
				return // another descriptor of the same process
			}
		}
		held.Owners = append(held.Owners, p)
	})
}

// decode fills in s from the wire of bpf/snapshot.h.
func (l *Lister) decode(raw []byte, s *event.Seen) {
	ne := binary.NativeEndian
	end := func(addr []byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(addr)).Unmap(), port)
	}
	s.KTime = int64(ne.Uint64(raw[0:]))
	s.Cookie = ne.Uint64(raw[8:])
	s.ID = ne.Uint64(raw[16:])
	s.Cgroup = ne.Uint64(raw[24:])
	expires, now := ne.Uint64(raw[32:]), ne.Uint64(raw[40:])
	s.NetNS = ne.Uint32(raw[80:])
	entered := ne.Uint32(raw[84:])
	s.Stamped = int64(ne.Uint32(raw[88:]))
	s.Sequence = ne.Uint32(raw[92:])
	s.Acked = l.jiffies(ne.Uint32(raw[96:]))
	s.Received = l.jiffies(ne.Uint32(raw[100:]))
	s.Unread = int64(int32(ne.Uint32(raw[104:])))
	s.Flags = event.SeenFlags(ne.Uint32(raw[108:]))
	s.Local = end(raw[48:64], ne.Uint16(raw[112:]))
	s.Peer = end(raw[64:80], ne.Uint16(raw[114:]))
	s.Family = raw[116]
	s.State = event.State(raw[117])
	s.Entered = event.Unknown
	if s.Has(event.SeenMini) {
		s.Remaining = time.Duration(int64(expires-now)) * l.tick
		if entered != 0 {
			ms := uint32(s.KTime/int64(time.Millisecond)) - entered
			s.Entered = time.Duration(int32(ms)) * time.Millisecond
		}
	}
}

// jiffies turns what is 32 bits of a difference into time; what is later than now is now.
func (l *Lister) jiffies(n uint32) time.Duration {
	return time.Duration(max(int32(n), 0)) * l.tick
}

// activeOpens reads the calling thread's namespace's count of connects that found a port.
func activeOpens() (int64, error) {
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return event.Unknown, fmt.Errorf("read the kernel's counters: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		field := strings.Fields(line)
		if len(field) == 0 || field[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = field
			continue
		}
		for i, name := range names {
			if name == "ActiveOpens" && i < len(field) {
				return strconv.ParseInt(field[i], 10, 64)
			}
		}
	}
	return event.Unknown, errors.New("read the kernel's counters: no ActiveOpens")
}
