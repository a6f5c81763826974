// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		for _, virtual := range []bool{false, true} {
			m := Machine{Arch: arch, Emulator: "/e", Kernel: "/k", VirtualTime: virtual, Append: "more=1"}.withDefaults()
			args, err := m.command("/image", "/console")
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args, " ")
			for part, want := range map[string]bool{
				"-accel tcg,":                true,
				"kvm":                        false,
				" more=1 ":                   true,
				"-icount shift=1,sleep=off":  virtual,
				"thread=single":              virtual,
				"thread=multi":               !virtual,
				"console=ttyS0":              arch == "amd64",
				"console=ttyAMA0":            arch == "arm64",
				"/e/usr/bin/qemu-system-x86": arch == "amd64",
			} {
				if strings.Contains(line, part) != want {
					t.Errorf("%s, virtual time %v: %q is there %v, want %v:\n%s", arch, virtual, part, !want, want, line)
				}
			}
		}
	}
	if _, err := (Machine{Arch: "mips"}).command("", ""); err == nil {
		t.Error("mips: no error")
	}
}
