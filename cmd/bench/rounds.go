// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
)

// results are the figures of all rounds.
type results struct {
	empty series // ns that the statistics take of each run of a program
	of    map[string]*result
}

// result is one contender's, a figure for each round. What it is compared with is from the
// same round: the load alone, just before, and tcpstates.
type result struct {
	kept, load, alone      series
	added                  series // load ÷ alone
	net, raw, runs         series
	user, system           series
	ready                  series
	lost, rows, unseen     int
	parts                  map[string]*series
	netRatio, rawRatio     series // of tcpstates's
	userRatio, systemRatio series
}

// rounds lets every contender have its turn in every round.
func (fd *field) rounds(list []contender, n int, progress io.Writer) (*results, error) {
	all := &results{of: map[string]*result{}}
	for _, c := range list {
		all.of[c.name] = &result{parts: map[string]*series{}}
	}
	for i := range n {
		empty, err := fd.empty()
		if err != nil {
			return nil, err
		}
		all.empty.add(empty)
		round := map[string]*figures{}
		for _, c := range list {
			fmt.Fprintf(progress, "round %d of %d: %s\n", i+1, n, c.name)
			free, err := fd.free()
			if err != nil {
				return nil, err
			}
			var f figures
			if c.command == nil {
				f, err = fd.floor()
			} else {
				f, err = fd.traced(&c, empty)
			}
			if err != nil {
				return nil, err
			}
			r := all.of[c.name]
			r.kept.add(f.speed / free.speed)
			r.load.add(f.load)
			r.alone.add(free.load)
			r.added.add(f.load / free.load)
			if c.command == nil {
				continue
			}
			round[c.name] = &f
			r.net.add(f.kernel.net)
			r.raw.add(f.kernel.raw)
			r.runs.add(f.kernel.runs)
			r.user.add(f.user)
			r.system.add(f.system)
			r.ready.add(f.ready.Seconds() * 1e3)
			r.lost += f.lost
			r.rows += f.rows
			r.unseen += f.unseen
			for name, ns := range f.kernel.parts {
				if r.parts[name] == nil {
					r.parts[name] = &series{}
				}
				r.parts[name].add(ns)
			}
		}
		for name, f := range round {
			if peer := round["tcpstates"]; peer != nil {
				r := all.of[name]
				r.netRatio.add(f.kernel.net / peer.kernel.net)
				r.rawRatio.add(f.kernel.raw / peer.kernel.raw)
				r.userRatio.add(f.user / peer.user)
				r.systemRatio.add(f.system / peer.system)
			}
		}
	}
	return all, nil
}

// sizes measures finwait with few and many live sockets and TIME_WAITs, in turns.
func (fd *field) sizes(c *contender, o *options, empty float64) (sockets, timeWaits []*sized, err error) {
	rounds := 2
	if o.quick {
		rounds = 1
	}
	for _, n := range sizes {
		sockets = append(sockets, &sized{live: n})
		timeWaits = append(timeWaits, &sized{live: n})
	}
	for range rounds {
		for i := range sizes {
			if err := fd.atSockets(c, sockets[i], empty); err != nil {
				return nil, nil, err
			}
			if err := fd.atTimeWaits(c, timeWaits[i], empty); err != nil {
				return nil, nil, err
			}
		}
	}
	return sockets, timeWaits, nil
}
