// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// field is where the rounds take place.
type field struct {
	dir   string // of the contenders' outputs
	conns int    // of one run of the load
}

// figures are what one contender, or nobody, made of one round.
type figures struct {
	speed  float64 // connections per second
	load   float64 // CPU µs of the load per connection, its share of what runs in the kernel included
	kernel kernelFigures
	user   float64 // ns of the contender's user time per state change
	system float64 // and of its system time
	lost   int     // state changes, records or rows that are missing
	rows   int     // that should have been there
	unseen int     // ours: connections of the load without just one entry into TIME_WAIT
	ready  time.Duration
}

// kernelFigures are those of programs, per state change.
type kernelFigures struct {
	net   float64            // ns in BPF programs, what the statistics themselves take not counted
	raw   float64            // ns with it
	runs  float64            // of programs
	parts map[string]float64 // net, of each program
}

// within starts a load, warms it up, calls f, and waits until nothing is left of the load.
func within(f func(*arena) error) error {
	a, err := newArena()
	if err != nil {
		return err
	}
	_, err = a.obey(order{Conns: warmUp})
	if err == nil {
		err = f(a)
	}
	return errors.Join(err, a.close())
}

// warmUp is how many connections a load makes before it counts.
const warmUp = 1000

// free is the load without a tracer.
func (fd *field) free() (r figures, err error) {
	err = within(func(a *arena) error {
		done, err := a.obey(order{Conns: fd.conns})
		r.set(done)
		return err
	})
	return r, err
}

func (r *figures) set(done outcome) {
	r.speed = float64(done.Conns) / done.Wall.Seconds()
	r.load = float64(done.CPU.Nanoseconds()) / 1e3 / float64(done.Conns)
}

// traced is the load beside a contender: once at full speed, and once more with BPF
// statistics, which cost time themselves. empty is what they cost, per run of a program.
func (fd *field) traced(c *contender, empty float64) (r figures, err error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return r, fmt.Errorf("turn BPF statistics on: %w", err)
	}
	t, err := c.trace(fd.dir)
	err = errors.Join(err, stats.Close())
	if err != nil {
		return r, err
	}
	defer os.Remove(t.file)
	r.ready = t.ready
	err = fd.both(t, &r, empty)
	if err != nil {
		t.cmd.Process.Kill()
		t.cmd.Wait()
	}
	return r, err
}

func (fd *field) both(t *tracing, r *figures, empty float64) error {
	began, err := readStat(t.cmd.Process.Pid)
	if err != nil {
		return err
	}
	err = within(func(a *arena) error {
		done, err := a.obey(order{Conns: fd.conns})
		r.set(done)
		return err
	})
	if err != nil {
		return err
	}
	if r.kernel, err = fd.inKernel(t, empty); err != nil {
		return err
	}
	usage, err := t.stop()
	if err != nil {
		return err
	}
	n := fd.conns + fd.piece()*pieces + 2*warmUp
	counted, err := t.count(t.file)
	if err != nil {
		return err
	}
	// Others on the host are traced too: their share of the time is theirs.
	share := float64(counted.load) / float64(max(counted.all, 1))
	per := func(whole unix.Timeval, before time.Duration) float64 {
		return float64(time.Duration(whole.Nano())-before) * share / float64(n*changes)
	}
	r.user = per(unix.Timeval(usage.Utime), began.user)
	r.system = per(unix.Timeval(usage.Stime), began.sys)
	if !t.ours {
		r.rows = n * t.perConn
		r.lost = r.rows - counted.load
		return nil
	}
	r.rows = counted.all
	r.lost, err = lost(counted.last)
	r.unseen = max(n-counted.timeWaits, counted.timeWaits-n)
	return err
}

// pieces is in how many pieces the load is run with statistics. Whatever interrupts a
// program is in its time; most pieces are short enough to be spared the worst.
const pieces = 15

// piece is how many connections one of them has.
func (fd *field) piece() int { return fd.conns / 2 / pieces }

// inKernel measures what programs take each time that a socket's state changes. The end of
// every TIME_WAIT is in it: it comes when the load's namespace ends.
func (fd *field) inKernel(t *tracing, empty float64) (k kernelFigures, err error) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return k, fmt.Errorf("turn BPF statistics on: %w", err)
	}
	defer stats.Close()
	var last programs
	conns := fd.piece()
	err = within(func(a *arena) error {
		k, last, err = t.pieces(a, conns, empty)
		return err
	})
	if err != nil {
		return k, err
	}
	after, err := t.programs()
	if err != nil {
		return k, err
	}
	n := float64((conns*pieces + warmUp) * changes)
	for _, p := range after.since(last) {
		k.add(p, n, empty)
	}
	return k, nil
}

// pieces runs the load in pieces and returns the median piece, and the programs at the end.
func (t *tracing) pieces(a *arena, conns int, empty float64) (k kernelFigures, last programs, err error) {
	var raw, runs series
	parts := map[string]*series{}
	for range pieces {
		before, err := t.programs()
		if err != nil {
			return k, nil, err
		}
		if _, err := a.obey(order{Conns: conns}); err != nil {
			return k, nil, err
		}
		if last, err = t.programs(); err != nil {
			return k, nil, err
		}
		diff := last.since(before)
		n := float64(diff.state(t.state).runs)
		one := kernelFigures{parts: map[string]float64{}}
		for _, p := range diff {
			one.add(p, n, empty)
			if parts[p.name] == nil {
				parts[p.name] = &series{}
			}
			parts[p.name].add(one.parts[p.name])
		}
		raw.add(one.raw)
		runs.add(one.runs)
	}
	k = kernelFigures{raw: raw.median(), runs: runs.median(), parts: map[string]float64{}}
	for name, s := range parts {
		k.parts[name] = s.median()
		k.net += s.median()
	}
	return k, last, nil
}

// add counts what a program took, over n state changes.
func (k *kernelFigures) add(p program, n, empty float64) {
	net := (float64(p.time) - empty*float64(p.runs)) / n
	k.raw += float64(p.time) / n
	k.runs += float64(p.runs) / n
	k.net += net
	k.parts[p.name] += net
}

// lost adds up what our own last record says is missing.
func lost(last []byte) (n int, err error) {
	var end struct {
		Type string
		Lost map[string]int
	}
	if err := json.Unmarshal(last, &end); err != nil {
		return 0, fmt.Errorf("read trace_end: %w", err)
	}
	if end.Type != "trace_end" {
		return 0, fmt.Errorf("read trace_end: the last record is %q", end.Type)
	}
	for _, lost := range end.Lost {
		n += lost
	}
	return n, nil
}
