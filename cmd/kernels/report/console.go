// SPDX-License-Identifier: Apache-2.0

package report

import (
	"regexp"
	"strings"
)

// troublePattern is how the kernel announces what must not happen. Only what is of
// level error or worse is on a quiet console; for warnings see the kernel's taint.
var troublePattern = regexp.MustCompile(`Kernel panic|\bBUG: |\bOops\b|general protection fault|invalid opcode|cut here|\bWARNING: `)

// Console returns the lines of a kernel's console that announce trouble, each once.
func Console(console string) []string {
	var found []string
	seen := map[string]bool{}
	for line := range strings.Lines(console) {
		line = strings.TrimSpace(line)
		if troublePattern.MatchString(line) && !seen[line] {
			seen[line] = true
			found = append(found, line)
		}
	}
	return found
}
