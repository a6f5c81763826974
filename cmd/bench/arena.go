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
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// arena is the load's process and its network namespace.
type arena struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	watch string // a link that goes away with the namespace
}

// newArena starts the load. The bench's own namespace holds one end of a link into it:
// namespaces end in the background, TIME_WAITs first and links after them.
func newArena(serial int) (*arena, error) {
	a := &arena{watch: fmt.Sprintf("arena%d", serial)}
	a.cmd = exec.Command("/proc/self/exe", "load")
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
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.watch
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "outside", PeerNamespace: netlink.NsPid(a.cmd.Process.Pid)}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, errors.Join(fmt.Errorf("link the load's namespace: %w", err), a.cmd.Process.Kill(), a.cmd.Wait())
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
	return done, nil
}

// close ends the load and waits until its namespace, and every TIME_WAIT in it, is gone.
func (a *arena) close() error {
	if err := errors.Join(a.in.Close(), a.cmd.Wait()); err != nil {
		return fmt.Errorf("end the load: %w", err)
	}
	return await(time.Minute, "the load's namespace to end", func() (bool, error) {
		_, err := netlink.LinkByName(a.watch)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return true, nil
		}
		return false, err
	})
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
