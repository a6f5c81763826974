// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openPort opens the second serial port, where nothing but the program and this
// package writes: the first is the kernel's console.
func openPort() (*os.File, error) {
	var last error
	for _, path := range []string{"/dev/ttyS1", "/dev/ttyAMA1"} { // a PC's, arm64's
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			last = fmt.Errorf("open %s: %w", path, err)
			continue
		}
		if err := makeRaw(fd); err != nil { // a ttyS1 without a port behind it opens, and does no more
			unix.Close(fd)
			last = fmt.Errorf("set up %s: %w", path, err)
			continue
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	return nil, last
}

// makeRaw leaves the bytes alone: no CR before LF, no echo.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IXON | unix.ICRNL
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CBAUD|unix.CRTSCTS) | unix.B115200 | unix.CLOCAL
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// drain waits until the port has sent everything: a reset loses what it has not.
func drain(f *os.File) error {
	return unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1) // tcdrain(3)
}
