// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// offline is what a recording's events cost later: events per second of CPU time.
type offline struct{ replay, report series }

// offline records one load and shows it, a few times over.
func (fd *field) offline(c *contender, rounds int) (o offline, err error) {
	t, err := c.trace(fd.dir)
	if err != nil {
		return o, err
	}
	defer os.Remove(t.file)
	err = within(func(a *arena) error {
		_, err := a.obey(order{Conns: fd.conns})
		return err
	})
	_, err2 := t.stop()
	if err := errors.Join(err, err2); err != nil {
		return o, err
	}
	rows, err := c.count(t.file)
	if err != nil {
		return o, err
	}
	for range rounds {
		for _, v := range []struct {
			args []string
			s    *series
		}{
			{[]string{"replay", "-o", "json", t.file}, &o.replay},
			{[]string{"report", t.file}, &o.report},
		} {
			cmd := exec.Command(c.command[0], v.args...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Run(); err != nil {
				return o, fmt.Errorf("finwait %s: %w: %s", v.args[0], err, bytes.TrimSpace(stderr.Bytes()))
			}
			v.s.add(float64(rows.all) / (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
		}
	}
	return o, nil
}
