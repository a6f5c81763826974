// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"regexp"
	"strings"
)

// reset is what the firmware sends before it hands over; the kernel's first line follows
// without a line's end between.
const reset = "\x1bc"

// Escape sequences and other control characters but the ends of lines and tabs.
var controlPattern = regexp.MustCompile(`\x1b(?:\[[0-9;?]*[A-Za-z]|[^\[])|[\x00-\x08\x0b-\x1f]`)

// cleanConsole leaves what the kernel and init wrote, fit for a terminal.
func cleanConsole(raw []byte) string {
	text := string(raw)
	if i := strings.LastIndex(text, reset); i >= 0 {
		text = text[i:]
	}
	return controlPattern.ReplaceAllString(text, "")
}

// Complaints is what the guest's init could not do, such as to load a module.
func (r Result) Complaints() []string {
	var all []string
	for line := range strings.Lines(r.Console) {
		if strings.HasPrefix(line, "init: ") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}
