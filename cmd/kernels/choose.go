// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"strconv"
	"strings"

	"finwait/cmd/kernels/debian"
)

// build is one kernel that a mirror has.
type build struct {
	release string // uname -r
	kernel  debian.Package
	// modules may be the package that holds the kernel as well. Without a name there is
	// none: the mirror keeps the kernels of superseded backports, and not their modules.
	modules debian.Package
	base    debian.Package // from 6.19 on, the list of what is built in
}

// packages lists what holds the build, each once.
func (b build) packages() []debian.Package {
	all := []debian.Package{b.kernel}
	for _, p := range []debian.Package{b.modules, b.base} {
		if p.Name != "" && p.Name != b.kernel.Name {
			all = append(all, p)
		}
	}
	return all
}

var packagePattern = regexp.MustCompile(`^linux-(image|binary|modules|base)-(unsigned-)?([0-9]+\.[0-9]+.*-cloud-(?:amd64|arm64))(-unsigned)?$`)

// leastImage is below the size of any kernel package, in bytes. From 6.19 on
// linux-image is an empty package that depends on linux-binary.
const leastImage = 1 << 20

// choose picks the newest build of a target; those with modules go before newer ones
// without. ok is false if there is none.
func choose(index []debian.Package, t target) (best build, ok bool) {
	for _, b := range builds(index, t.arch) {
		if !t.matches(b.release) {
			continue
		}
		if !ok || b.betterThan(best) {
			best, ok = b, true
		}
	}
	return best, ok
}

func (b build) betterThan(other build) bool {
	if whole := b.modules.Name != ""; whole != (other.modules.Name != "") {
		return whole
	}
	return debian.Compare(b.kernel.Version, other.kernel.Version) > 0
}

// builds puts together the packages of each release. A signed kernel goes before an
// unsigned one, which is the same but for its signature.
func builds(index []debian.Package, arch string) []build {
	parts := map[string]map[string]debian.Package{} // by release and kind
	for _, p := range index {
		m := packagePattern.FindStringSubmatch(p.Name)
		if m == nil || p.Arch != arch {
			continue
		}
		kind, release := m[1], m[3]
		if kind == "image" && p.Size < leastImage {
			continue
		}
		if m[2] != "" || m[4] != "" {
			kind = "unsigned " + kind
		}
		if parts[release] == nil {
			parts[release] = map[string]debian.Package{}
		}
		if debian.Compare(p.Version, parts[release][kind].Version) > 0 {
			parts[release][kind] = p
		}
	}
	var all []build
	for release, part := range parts {
		for _, kind := range []string{"binary", "unsigned binary", "image", "unsigned image"} {
			kernel, ok := part[kind]
			if !ok {
				continue
			}
			b := build{release, kernel, part["modules"], part["base"]}
			if strings.HasSuffix(kind, "image") {
				b.modules = kernel
			}
			all = append(all, b)
			break
		}
	}
	return all
}

func (t target) matches(release string) bool {
	series := seriesOf(release)
	if t.series != newest {
		return series == t.series
	}
	return !olderSeries(series, leastNewest)
}

// seriesOf is 6.12 of 6.12.107+deb13-cloud-amd64.
func seriesOf(release string) string {
	major, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	return major + "." + rest[:end]
}

func olderSeries(a, b string) bool {
	majorA, minorA := splitSeries(a)
	majorB, minorB := splitSeries(b)
	return majorA < majorB || majorA == majorB && minorA < minorB
}

// splitSeries of what is no series is 0.0, older than any.
func splitSeries(s string) (major, minor int) {
	first, second, _ := strings.Cut(s, ".")
	major, err1 := strconv.Atoi(first)
	minor, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return major, minor
}
