// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// heldMost is how many connections one process holds: two descriptors each, and many
// systems allow 20,000.
const heldMost = 8000

// hold has as many processes as it takes hold open connections until this one ends.
func hold(conns int) outcome {
	done := outcome{Conns: conns}
	for i := 0; conns > 0; i++ {
		n := min(conns, heldMost)
		conns -= n
		cmd := exec.Command("/proc/self/exe", "hold", strconv.Itoa(n), strconv.Itoa(i))
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		_, err := cmd.StdinPipe() // closed when this process ends
		if err == nil {
			var out io.ReadCloser
			if out, err = cmd.StdoutPipe(); err == nil {
				if err = cmd.Start(); err == nil {
					_, err = io.ReadFull(out, make([]byte, 1))
				}
			}
		}
		if err != nil {
			done.Err = fmt.Sprintf("hold %d connections: %v", n, err)
			return done
		}
	}
	return done
}

// runHold opens connections, says so, and waits for the end of its input.
func runHold(args []string) error {
	if len(args) != 2 {
		return errors.New("hold needs a number of connections, and which port")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	i, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := newCloser(heldPorts + i)
	if err != nil {
		return err
	}
	if err := c.run(n, true); err != nil {
		return err
	}
	os.Stdout.Write([]byte{'\n'})
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
