// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"
)

// dumpLog writes the kernel's whole log: a quiet console shows errors and no warnings.
func dumpLog(w io.Writer) error {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open kernel log: %w", err)
	}
	defer unix.Close(fd)
	fmt.Fprintln(w, "init: the kernel's log:")
	record := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EAGAIN): // the end
			return nil
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR): // overwritten meanwhile
			continue
		case err != nil:
			return fmt.Errorf("read kernel log: %w", err)
		}
		// "priority,sequence,time,flags;text", then continuation lines that begin with a space.
		_, text, _ := strings.Cut(string(record[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		fmt.Fprintln(w, text)
	}
}
