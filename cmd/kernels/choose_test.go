// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/cmd/kernels/debian"
)

func pkg(name, version, arch string, size int64) debian.Package {
	return debian.Package{Name: name, Version: version, Arch: arch, Size: size}
}

var index = []debian.Package{
	pkg("linux-image-5.10.0-46-cloud-amd64", "5.10.262-1", "amd64", 21<<20),
	pkg("linux-image-5.10.0-46-cloud-amd64-unsigned", "5.10.262-1", "amd64", 21<<20),
	pkg("linux-image-5.10.0-46-cloud-amd64-dbg", "5.10.262-1", "amd64", 500<<20),
	pkg("linux-image-5.10.0-9-cloud-amd64", "5.10.70-1", "amd64", 21<<20),
	pkg("linux-image-6.1.0-0.deb11.52-cloud-amd64", "6.1.192-1~deb11u1", "amd64", 26<<20),
	pkg("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2", "amd64", 26<<20),
	pkg("linux-image-6.1-cloud-amd64", "6.1.192-9", "amd64", 1400),
	pkg("linux-image-6.12.90+deb13.1-cloud-amd64", "6.12.90-2", "amd64", 34<<20),
	pkg("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1", "amd64", 34<<20),
	pkg("linux-image-6.12.117+deb13-cloud-arm64", "6.12.117-1", "arm64", 34<<20),
	pkg("linux-image-6.12.117+deb13-amd64", "6.12.117-9", "amd64", 90<<20),
	pkg("linux-image-6.17.13+deb13-cloud-amd64-unsigned", "6.17.13-1", "amd64", 40<<20),
	pkg("linux-image-7.0.13+deb13-cloud-amd64", "7.0.13-1~bpo13+1", "amd64", 2000),
	pkg("linux-binary-7.0.13+deb13-cloud-amd64", "7.0.13-1~bpo13+1", "amd64", 13<<20),
	pkg("linux-image-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1", "amd64", 2000),
	pkg("linux-binary-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1", "amd64", 13<<20),
	pkg("linux-binary-unsigned-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1", "amd64", 13<<20),
	pkg("linux-modules-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1", "amd64", 23<<20),
	pkg("linux-base-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1", "amd64", 1<<19),
	pkg("linux-binary-7.2.12+deb13-cloud-amd64", "7.2.12-1~bpo13+1", "amd64", 13<<20),
}

func TestChoose(t *testing.T) {
	for name, want := range map[string][]string{
		"5.10":       {"5.10.0-46-cloud-amd64", "linux-image-5.10.0-46-cloud-amd64 5.10.262-1"},
		"6.1":        {"6.1.0-56-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64 6.1.192-2"},
		"6.12":       {"6.12.117+deb13-cloud-amd64", "linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1"},
		"6.12-arm64": {"6.12.117+deb13-cloud-arm64", "linux-image-6.12.117+deb13-cloud-arm64 6.12.117-1"},
		"6.17":       {"6.17.13+deb13-cloud-amd64", "linux-image-6.17.13+deb13-cloud-amd64-unsigned 6.17.13-1"},
		"6.18":       nil,
		"7.0":        {"7.0.13+deb13-cloud-amd64", "linux-binary-7.0.13+deb13-cloud-amd64 7.0.13-1~bpo13+1"}, // without modules
		newest: {"7.2.9+deb13-cloud-amd64", "linux-binary-7.2.9+deb13-cloud-amd64 7.2.9-1~bpo13+1", // not 7.2.12, without modules
			"linux-modules-7.2.9+deb13-cloud-amd64 7.2.9-1~bpo13+1", "linux-base-7.2.9+deb13-cloud-amd64 7.2.9-1~bpo13+1"},
		newest + "-arm64": nil,
	} {
		targets, err := parseTargets(name)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := choose(index, targets[0])
		var got []string
		if ok {
			got = []string{b.release}
			for _, p := range b.packages() {
				got = append(got, p.String())
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestChooseEmulator(t *testing.T) {
	const old, good, better, foreign = "1:7.2+dfsg-7", "1:10.0.2+ds-2~bpo12+1", "1:10.1+ds-1~bpo12+1", "1:11.0-1"
	var index []debian.Package
	for version, suite := range map[string]string{
		old: "bookworm", good: "bookworm-backports", better: "bookworm-backports", foreign: "trixie-backports",
	} {
		for _, p := range []debian.Package{pkg("qemu-system-x86", version, "amd64", 1), pkg("qemu-system-data", version, "all", 1)} {
			p.Suite = suite
			index = append(index, p)
		}
	}
	got, ok := chooseEmulator(index, "bookworm", "amd64", "amd64")
	if !ok || len(got) != 2 || got[0].Version != better || got[1].Version != better || got[1].Name != "qemu-system-data" {
		t.Errorf("chose %v, %v; want %s", got, ok, better)
	}
	if got, ok := chooseEmulator(index[:0], "bookworm", "amd64", "amd64"); ok {
		t.Errorf("chose %v of nothing", got)
	}
	if got, ok := chooseEmulator(index, "bookworm", "amd64", "arm64"); ok {
		t.Errorf("chose %v for arm64", got)
	}
}

func TestRequires(t *testing.T) {
	got := requires([]debian.Package{{Depends: "libc6 (>= 2.34), qemu-system-common (= 1), ipxe-qemu, seabios (>> 1), libaio1 | libaio1t64"}})
	if diff := cmp.Diff([]string{"libaio1", "libc6", "seabios", "xz-utils", "zstd"}, got); diff != "" {
		t.Error(diff)
	}
}
