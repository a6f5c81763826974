// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"finwait/cmd/kernels/debian"
	"finwait/cmd/kernels/vm"
)

// leastEmulator is the first good version. Guests of 7.2, which bookworm itself has,
// crash by chance, and always when probes come and go under load.
const leastEmulator = "1:10"

var emulatorPackages = map[string]string{"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}

// hostPackages are used beside the emulator's libraries: its firmware, and what
// unpacks modules.
var hostPackages = []string{"seabios", "xz-utils", "zstd"}

// emulator fetches the emulator for guests of arch, installs what it needs and tries
// it. The packages are unpacked and not installed: the machine may have another.
func (f *fetcher) emulator(ctx context.Context, arch string) error {
	r, ok, err := f.cache.emulator(arch)
	if err != nil {
		return err
	}
	dir := f.cache.emulatorDir(arch)
	fetch := !ok || f.refresh
	if fetch {
		if r, err = f.fetchEmulator(ctx, arch, dir); err != nil {
			return err
		}
	}
	if missing := debian.Missing(ctx, r.Requires); len(missing) > 0 {
		fmt.Fprintf(f.log, "installing %s\n", strings.Join(missing, " "))
		if err := debian.Install(ctx, missing); err != nil {
			return err
		}
	}
	path, err := vm.EmulatorPath(dir, arch)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("try emulator: %w: %s", err, out)
	}
	f.tell("emulator for "+arch, fetch, r)
	return nil
}

func (f *fetcher) fetchEmulator(ctx context.Context, arch, dir string) (record, error) {
	var r record
	var ok bool
	err := f.find(ctx, func() bool {
		r.Packages, ok = chooseEmulator(f.index, f.codename, runtime.GOARCH, arch)
		return ok
	})
	if err != nil {
		return r, err
	}
	if !ok {
		return r, fmt.Errorf("find %s: %s has no version from %s on", emulatorPackages[arch], f.codename, leastEmulator)
	}
	r.Release, r.Requires = r.Packages[0].Version, requires(r.Packages)
	root, err := f.unpack(ctx, r.Packages)
	if err != nil {
		return r, err
	}
	return r, replace(root, dir, r)
}

// chooseEmulator picks the newest emulator of a release or its backports, with the
// firmware of the same version, to run on host.
func chooseEmulator(index []debian.Package, codename, host, arch string) ([]debian.Package, bool) {
	newest := func(name, version string) (best debian.Package) {
		for _, p := range index {
			if p.Name == name && (p.Suite == codename || p.Suite == codename+"-backports") &&
				(p.Arch == host || p.Arch == "all") &&
				(version == "" || p.Version == version) &&
				debian.Compare(p.Version, leastEmulator) >= 0 &&
				(best.Name == "" || debian.Compare(p.Version, best.Version) > 0) {
				best = p
			}
		}
		return best
	}
	emulator := newest(emulatorPackages[arch], "")
	firmware := newest("qemu-system-data", emulator.Version)
	return []debian.Package{emulator, firmware}, emulator.Name != "" && firmware.Name != ""
}

// ours are packages that the cache has itself, or that no machine here uses.
var ours = regexp.MustCompile(`^(qemu-system-.*|ipxe-qemu)$`)

func requires(packages []debian.Package) []string {
	all := slices.Clone(hostPackages)
	for _, p := range packages {
		all = append(all, p.Requires()...)
	}
	return unique(slices.DeleteFunc(all, ours.MatchString))
}
