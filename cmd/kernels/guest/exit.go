// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"strings"
	"time"
)

// StartMark is the line before the program's output. A machine that ends without it
// never got as far as the program, which is the emulator's fault and nobody else's.
const StartMark = "@@finwait-start@@"

const exitFormat = "@@finwait-exit code=%d taint=%d up=%d ran=%d@@"

// Exit is the line after the program's output. A machine that ends without it was
// brought down by the program.
type Exit struct {
	Code  int           // as a shell has it: 128 and the signal's number for a killed program
	Taint uint64        // /proc/sys/kernel/tainted
	Up    time.Duration // guest time from the start of the kernel to that of the program
	Ran   time.Duration // guest time that the program took
}

func (e Exit) String() string {
	return fmt.Sprintf(exitFormat, e.Code, e.Taint, e.Up, e.Ran)
}

// ParseExit reads what String wrote; ok is false for any other line.
func ParseExit(line string) (e Exit, ok bool) {
	n, err := fmt.Sscanf(strings.TrimRight(line, "\r\n"), exitFormat, &e.Code, &e.Taint, &e.Up, &e.Ran)
	return e, err == nil && n == 4
}

// Bits of the kernel's taint that no test may leave behind (kernel/panic.c).
var badTaint = []struct {
	bit  uint
	name string
}{
	{4, "machine check"},
	{5, "bad page"},
	{7, "oops"},
	{9, "warning"},
	{14, "soft lockup"},
}

// BadTaint names the trouble that the kernel noted about itself; "" is none. Unsigned
// modules and the like are not trouble.
func (e Exit) BadTaint() string {
	var bad []string
	for _, t := range badTaint {
		if e.Taint&(1<<t.bit) != 0 {
			bad = append(bad, t.name)
		}
	}
	return strings.Join(bad, ", ")
}
