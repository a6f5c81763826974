// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"net/netip"
	"strings"

	"finwait/tracer/event"
)

// choice is the filters of a command line that shows evidence.
type choice struct {
	process   Program
	raw       event.Comm // --comm compares every byte
	netns     uint32
	local     netip.Addr
	localPort uint16
	peer      netip.Addr
	peerPort  uint16
	closer    event.Closer
	method    event.Method
	closes    bool // one row for each connection says more
}

// choose begins with what a group is about.
func (v *view) choose(g *group) choice {
	c := choice{}
	if g.program > otherPrograms {
		c.process, c.raw = v.program(g.program), v.processes.list[g.program].comm
	}
	if !g.any {
		c.peer = netip.AddrFrom16(g.peer).Unmap()
	}
	switch g.role {
	case event.Client:
		c.peerPort = g.port
	case event.Server:
		c.localPort = g.port
	}
	return c
}

// command writes the command line.
func (v *view) command(c choice) string {
	var b strings.Builder
	b.WriteString("finwait replay")
	for _, f := range v.files {
		b.WriteString(" " + quote(f))
	}
	if c.closes {
		b.WriteString(" --view closes")
	}
	if name := c.raw.String(); name != "" {
		if printable([]byte(name)) == name {
			b.WriteString(" --comm " + quote(name))
		} else if len(c.process.PIDs) == 1 {
			fmt.Fprintf(&b, " -p %d", c.process.PIDs[0])
		}
	}
	if c.process.Container != "" {
		b.WriteString(" --container " + quote(c.process.Container[:min(len(c.process.Container), 12)]))
	}
	if c.netns != 0 {
		fmt.Fprintf(&b, " --netns inode:%d", c.netns)
	}
	if c.local.IsValid() && !c.local.IsUnspecified() {
		b.WriteString(" --local " + c.local.String())
	}
	if c.localPort != 0 {
		fmt.Fprintf(&b, " -L %d", c.localPort)
	}
	if c.peer.IsValid() {
		b.WriteString(" --peer " + c.peer.String())
	}
	if c.peerPort != 0 {
		fmt.Fprintf(&b, " -D %d", c.peerPort)
	}
	if c.closer != event.CloserUnknown {
		b.WriteString(" --closer " + c.closer.String())
	}
	if c.method != event.MethodUnknown {
		b.WriteString(" --method " + c.method.String())
	}
	return b.String()
}

// quote makes one word of s for a shell: as POSIX has it, and where there are characters
// that a terminal would act on, as bash and zsh do.
func quote(s string) string {
	if printable([]byte(s)) != s {
		var b strings.Builder
		for i := range len(s) {
			if c := s[i]; c < ' ' || c > '~' || c == '\'' || c == '\\' {
				fmt.Fprintf(&b, `\x%02x`, c)
			} else {
				b.WriteByte(c)
			}
		}
		return "$'" + b.String() + "'"
	}
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
