// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// board is an emulated machine: what differs from one architecture to the next.
type board struct {
	emulator string
	machine  string
	// cpu is old on purpose: emulating newer extensions costs a fifth of the speed.
	cpu     string
	console string
	cmdline string
}

var boards = map[string]board{
	"amd64": {
		emulator: "qemu-system-x86_64",
		machine:  "pc,acpi=on,usb=off,hpet=off,graphics=off",
		cpu:      "Nehalem,+rdrand", // without rdrand the kernel waits for entropy
		console:  "ttyS0",
		// reboot=t: a triple fault ends the machine at once. The timer options skip
		// calibrations that fail, or take long, when the host is busy.
		cmdline: "reboot=t tsc=reliable no_timer_check",
	},
	"arm64": {
		emulator: "qemu-system-aarch64",
		machine:  "virt,gic-version=3",
		cpu:      "cortex-a57",
		console:  "ttyAMA0",
	},
}

// cmdline is what every kernel is told. Mitigations and the clearing of memory cost time
// and protect nobody here; all else is left at the kernel's default, as on a real host.
const cmdline = "rdinit=/init panic=-1 oops=panic quiet loglevel=4 mitigations=off" +
	" init_on_alloc=0 random.trust_cpu=on nokaslr net.ifnames=0"

// EmulatorPath is where an unpacked Debian package has the emulator for arch.
func EmulatorPath(root, arch string) (string, error) {
	b, ok := boards[arch]
	if !ok {
		return "", fmt.Errorf("emulate %s: unknown architecture", arch)
	}
	return filepath.Join(root, "usr/bin", b.emulator), nil
}

// command is the emulator's command line. KVM is never asked for: where it is nested,
// it opens and then runs a kernel slower than emulation, or not at all.
func (m Machine) command(image, console string) ([]string, error) {
	path, err := EmulatorPath(m.Emulator, m.Arch)
	if err != nil {
		return nil, err
	}
	b := boards[m.Arch]
	kernel := cmdline + " console=" + b.console
	for _, more := range []string{b.cmdline, m.Append} {
		if more != "" {
			kernel += " " + more
		}
	}
	accel := []string{"-accel", "tcg,thread=multi"}
	if m.VirtualTime {
		// An instruction takes 2 ns, and when every CPU idles the clock jumps to the next
		// timer: a minute of TIME_WAIT costs nothing. It needs one host thread for all CPUs.
		accel = []string{"-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off"}
	}
	args := []string{
		path, "-L", filepath.Join(m.Emulator, "usr/share/qemu"), "-L", "/usr/share/seabios",
		"-machine", b.machine, "-cpu", b.cpu,
		"-smp", strconv.Itoa(m.CPUs), "-m", m.Memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.Kernel, "-initrd", image, "-append", kernel,
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		"-chardev", "stdio,id=port,signal=off", "-serial", "chardev:port",
	}
	return append(args, accel...), nil
}
