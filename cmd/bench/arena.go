// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// arena is the load's process and its network namespace.
type arena struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	made int // connections that are over
}

// newArena starts the load.
func newArena() (*arena, error) {
	a := &arena{cmd: exec.Command("/proc/self/exe", "load")}
	a.cmd.Stderr = os.Stderr
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the load in a network namespace (needs root): %w", err)
	}
	return a, nil
}

// obey has the load carry out an order.
func (a *arena) obey(o order) (outcome, error) {
	var done outcome
	line, err := json.Marshal(o)
	if err == nil {
		_, err = a.in.Write(append(line, '\n'))
	}
	if err == nil {
		if line, err = a.out.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &done)
		}
	}
	if err == nil && done.Err != "" {
		err = errors.New(done.Err)
	}
	if err != nil {
		return done, fmt.Errorf("load: %w", err)
	}
	if !o.Keep {
		a.made += done.Conns
	}
	return done, nil
}

// close ends the load and waits until every TIME_WAIT of its namespace is gone: the
// kernel ends namespaces in the background, in its own time.
func (a *arena) close() error {
	before := timeWaits()
	if err := errors.Join(a.in.Close(), a.cmd.Wait()); err != nil {
		return fmt.Errorf("end the load: %w", err)
	}
	// The slab's count is coarse, and others on the host have TIME_WAITs as well: after a
	// while it is certain all the same.
	left := max(before-a.made*9/10, 0)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); timeWaits() > left && time.Now().Before(end); {
		<-tick.C
	}
	return nil
}

// timeWaits is how many TIME_WAITs there are on the host, about; 0 where that is not told.
func timeWaits() int {
	raw, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "tw_sock_TCP "); ok {
			if n, err := strconv.Atoi(strings.Fields(rest)[0]); err == nil {
				return n
			}
		}
	}
	return 0
}

// await looks again and again until something holds.
func await(most time.Duration, what string, holds func() (bool, error)) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(most); time.Now().Before(end); <-tick.C {
		if ok, err := holds(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("wait for %s: not within %v", what, most)
}
