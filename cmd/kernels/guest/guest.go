// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Main is the whole life of the machine, and does not return, if this process is the
// machine's first. Otherwise it does nothing. Call it before anything else in main.
func Main() {
	// In a container the host's command may be process 1 as well.
	if os.Getpid() != 1 || os.Args[0] != InitPath {
		return
	}
	if err := live(); err != nil {
		complain(err) // on the kernel's console
	}
	// With qemu's -no-reboot a restart ends the emulator, faster than a power-off.
	for _, how := range []int{unix.LINUX_REBOOT_CMD_RESTART, unix.LINUX_REBOOT_CMD_POWER_OFF} {
		if err := unix.Reboot(how); err != nil {
			fmt.Fprintf(os.Stderr, "init: reset: %v\n", err)
		}
	}
	select {} // an init that ends is a panic, which would hide the error above
}

func live() error {
	p, err := readPayload()
	if err != nil {
		return err
	}
	if err := setup(p); err != nil {
		complain(err)
	}
	port, err := openPort()
	if err != nil {
		return err
	}
	fmt.Fprintln(port, StartMark)
	e := Exit{Up: uptime()}
	if e.Code, err = execute(p, port); err != nil {
		fmt.Fprintf(port, "init: %v\n", err)
	}
	e.Ran = uptime() - e.Up
	if e.Taint, err = taint(); err != nil {
		fmt.Fprintf(port, "init: %v\n", err)
	}
	if e.BadTaint() != "" {
		if err := dumpLog(os.Stderr); err != nil {
			fmt.Fprintf(port, "init: %v\n", err)
		}
	}
	// The program's last line may lack its end.
	fmt.Fprintf(port, "\n%s\n", e)
	return drain(port)
}

// complain writes to the kernel's console, where the host looks for lines that begin so.
func complain(err error) {
	for line := range strings.Lines(err.Error()) { // joined errors are lines
		fmt.Fprintf(os.Stderr, "init: %s\n", strings.TrimSpace(line))
	}
}

// execute runs the program and reaps every orphan until it ends.
func execute(p Payload, port *os.File) (code int, err error) {
	const notRun = 127 // as a shell has it
	null, err := os.Open(os.DevNull)
	if err != nil {
		return notRun, fmt.Errorf("open standard input: %w", err)
	}
	defer null.Close()
	env := append([]string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root", "TMPDIR=/tmp", "TERM=dumb"}, p.Env...)
	child, err := os.StartProcess(p.Args[0], p.Args, &os.ProcAttr{
		Dir:   p.Dir,
		Env:   env,
		Files: []*os.File{null, port, port},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return notRun, fmt.Errorf("start program: %w", err)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return notRun, fmt.Errorf("wait for program: %w", err)
		case pid != child.Pid:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func taint() (uint64, error) {
	b, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		return 0, fmt.Errorf("read taint: %w", err)
	}
	t, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read taint: %w", err)
	}
	return t, nil
}
