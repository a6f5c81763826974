// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// sizes are how many live sockets, or TIME_WAITs, finwait is measured at.
var sizes = []int{1_000, 10_000, 100_000}

// sized is what finwait costs while it follows many.
type sized struct {
	live     int
	kernel   series // net ns in programs per state change
	user     series // ns of user time per state change
	resident series // bytes
	maps     int64  // bytes of kernel memory
}

// atSockets measures with live sockets on the host, both ends counted.
func (fd *field) atSockets(c *contender, s *sized, empty float64) error {
	room := strconv.Itoa(max(65536, s.live*2)) // the default, where that is enough
	return fd.at(c, s, empty, order{Conns: s.live / 2, Keep: true}, "--max-sockets", room)
}

// atTimeWaits measures with live TIME_WAITs.
func (fd *field) atTimeWaits(c *contender, s *sized, empty float64) error {
	return fd.at(c, s, empty, order{Conns: s.live})
}

func (fd *field) at(c *contender, s *sized, empty float64, fill order, flags ...string) error {
	t, err := c.trace(fd.dir, flags...)
	if err != nil {
		return err
	}
	defer os.Remove(t.file)
	pid := t.cmd.Process.Pid
	err = within(func(a *arena) error {
		if _, err := a.obey(fill); err != nil {
			return err
		}
		if err := t.quiet(); err != nil {
			return err
		}
		rss, err := resident(pid)
		if err != nil {
			return err
		}
		s.resident.add(float64(rss))
		if s.maps, err = t.mapBytes(); err != nil {
			return err
		}
		before, err := readStat(pid)
		if err != nil {
			return err
		}
		stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
		if err != nil {
			return fmt.Errorf("turn BPF statistics on: %w", err)
		}
		defer stats.Close()
		conns := fd.piece()
		k, _, err := t.pieces(a, conns, empty)
		if err != nil {
			return err
		}
		s.kernel.add(k.net)
		if err := t.quiet(); err != nil {
			return err
		}
		after, err := readStat(pid)
		s.user.add(float64(after.user-before.user) / float64(conns*pieces*changes))
		return err
	})
	_, err2 := t.stop()
	return errors.Join(err, err2)
}

// quiet waits until the contender has nothing left to do.
func (t *tracing) quiet() error {
	var last int64
	since := time.Now()
	return await(time.Minute, t.name+" to be done", func() (bool, error) {
		info, err := os.Stat(t.file)
		if err != nil {
			return false, err
		}
		if info.Size() != last {
			last, since = info.Size(), time.Now()
		}
		return time.Since(since) > 200*time.Millisecond, nil
	})
}
