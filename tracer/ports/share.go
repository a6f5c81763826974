// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"cmp"
	"slices"

	"finwait/tracer/event"
)

const (
	// maxSharedWith is how many other destinations a budget names.
	maxSharedWith = 8
	// crowded is how many destinations a port may go to and still be asked which: a
	// crawler's few ports go to thousands, each of which shares with all others.
	crowded = 64
)

// port is a local port of a network namespace.
type port struct {
	netns uint32
	port  uint16
}

// sharing tells which budgets use each port: connect() gives a port that goes to one
// destination to another one too, so that a port is spent once for each.
func sharing(budgets map[key]*budget) map[port][]*budget {
	all := map[port][]*budget{}
	for _, b := range budgets {
		for p := range b.ports {
			at := port{b.key.netns, p}
			all[at] = append(all[at], b)
		}
	}
	return all
}

// share fills in which other destinations have the budget's ports too.
func (b *budget) share(all map[port][]*budget) {
	with := map[*budget]int64{}
	for p := range b.ports {
		users := all[port{b.key.netns, p}]
		if len(users) > 1 {
			b.Shared++
		}
		if len(users) > crowded {
			continue
		}
		for _, other := range users {
			if other != b {
				with[other]++
			}
		}
	}
	for other, n := range with {
		b.SharedWith = append(b.SharedWith, event.SharedPeer{Local: other.key.local, Peer: other.key.peer, Ports: n})
	}
	slices.SortFunc(b.SharedWith, func(x, y event.SharedPeer) int {
		return cmp.Or(cmp.Compare(y.Ports, x.Ports), x.Local.Compare(y.Local), x.Peer.Compare(y.Peer))
	})
	b.SharedWith = b.SharedWith[:min(len(b.SharedWith), maxSharedWith)]
}
