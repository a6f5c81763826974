// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Missing returns those of names that this machine has not installed.
func Missing(ctx context.Context, names []string) []string {
	// It fails if it does not know one of them, and lists the others all the same.
	out, _ := output(ctx, "dpkg-query", append([]string{"-W", "-f", "${db:Status-Status} ${Package}\n"}, names...)...)
	return missing(out, names)
}

func missing(listing string, names []string) []string {
	installed := map[string]bool{}
	for line := range strings.Lines(listing) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "installed "); ok {
			installed[name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return installed[n] })
}

// Install installs names from the machine's own sources, and asks nothing.
func Install(ctx context.Context, names []string) error {
	var prefix []string
	if os.Geteuid() != 0 {
		prefix = []string{"sudo", "--"}
	}
	apt := func(args ...string) error {
		command := append(slices.Clone(prefix), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get")
		command = append(command, args...)
		_, err := output(ctx, command[0], command[1:]...)
		return err
	}
	// A source of the machine that is of no use here may be out of reach.
	updateErr := apt("update", "-qq")
	args := append([]string{"install", "-qq", "-y", "--no-install-recommends"}, names...)
	if err := apt(args...); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(names, " "), errors.Join(err, updateErr))
	}
	return nil
}
