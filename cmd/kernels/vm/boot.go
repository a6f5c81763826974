// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"finwait/cmd/kernels/guest"
)

// How a machine can end other than by its program's end.
var (
	ErrBoot    = errors.New("the machine did not get as far as the program")
	ErrDied    = errors.New("the machine ended before the program did")
	ErrTimeout = errors.New("the machine took too long")
)

// Machine is one emulated computer and what it boots. Emulator, Kernel and Image have
// no default.
type Machine struct {
	Emulator string // the root of an unpacked emulator package
	Arch     string // a GOARCH; "" is amd64
	Kernel   string
	Image    Image
	Append   string // more for the kernel's command line
	CPUs     int    // 0 is 2
	Memory   string // "" is 1G
	// VirtualTime lets guest time pass by instructions and skips idle time, instead of
	// following the host's clock.
	VirtualTime bool
	Timeout     time.Duration // of the host's time, for all of it; 0 is 5 minutes
	BootTimeout time.Duration // of the host's time, up to the program; 0 is 90 seconds
}

// Result is what a machine left. Its Console is of use after an error, too.
type Result struct {
	guest.Exit
	Console string        // all that the kernel wrote
	Wall    time.Duration // the host's time
}

// Boot runs the machine to its end and writes the program's output to out as it comes.
// An error that is none of ErrBoot, ErrDied and ErrTimeout is the host's own trouble.
func Boot(ctx context.Context, m Machine, out io.Writer) (r Result, err error) {
	m = m.withDefaults()
	begin := time.Now()
	defer func() { r.Wall = time.Since(begin) }()
	dir, err := os.MkdirTemp("", "finwait-vm-")
	if err != nil {
		return r, fmt.Errorf("make room for the machine: %w", err)
	}
	defer os.RemoveAll(dir)
	image, console := filepath.Join(dir, "image"), filepath.Join(dir, "console")
	if err := m.Image.write(image); err != nil {
		return r, err
	}
	args, err := m.command(image, console)
	if err != nil {
		return r, err
	}
	s := &stream{out: out}
	err = m.emulate(ctx, args, s)
	s.flush()
	raw, readErr := os.ReadFile(console)
	if readErr != nil && err == nil {
		err = fmt.Errorf("read console: %w", readErr)
	}
	r.Console = cleanConsole(raw)
	if s.exit != nil {
		r.Exit = *s.exit
	}
	switch {
	case err != nil:
		return r, err
	case s.exit == nil && !s.started:
		return r, ErrBoot
	case s.exit == nil:
		return r, ErrDied
	case s.err != nil:
		return r, fmt.Errorf("write the program's output: %w", s.err)
	}
	return r, nil
}

func (m Machine) withDefaults() Machine {
	if m.Arch == "" {
		m.Arch = "amd64"
	}
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.Memory == "" {
		m.Memory = "1G"
	}
	if m.Timeout == 0 {
		m.Timeout = 5 * time.Minute
	}
	if m.BootTimeout == 0 {
		m.BootTimeout = 90 * time.Second
	}
	return m
}

// emulate runs the emulator, whose standard output is the guest's second port.
func (m Machine) emulate(ctx context.Context, args []string, s *stream) error {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	whole := time.AfterFunc(m.Timeout, func() { cancel(fmt.Errorf("%w: %v", ErrTimeout, m.Timeout)) })
	defer whole.Stop()
	boot := time.AfterFunc(m.BootTimeout, func() {
		if !s.hasStarted() {
			cancel(fmt.Errorf("%w in %v", ErrBoot, m.BootTimeout))
		}
	})
	defer boot.Stop()

	// The signal that ends the emulator with us comes when the thread that started it
	// ends, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var complaints bytes.Buffer
	cmd := exec.CommandContext(run, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = s, &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case run.Err() != nil:
		return context.Cause(run)
	case err != nil:
		return fmt.Errorf("run emulator: %w: %s", err, bytes.TrimSpace(complaints.Bytes()))
	}
	return nil
}
