// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Apt is an apt state of its own: sources, lists and cache in one directory.
type Apt struct {
	dir    string
	arches []string
	mirror mirror
}

// NewApt makes an empty state in dir, which the caller removes, for packages of arches.
func NewApt(ctx context.Context, dir string, arches []string) (*Apt, error) {
	m, err := findMirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, fmt.Errorf("make apt state: %w", err)
		}
	}
	return &Apt{dir, arches, m}, nil
}

func (a *Apt) args(args ...string) []string {
	settings := []string{
		"Dir::Etc::SourceList=" + filepath.Join(a.dir, "sources.list"),
		"Dir::Etc::SourceParts=/dev/null",
		"Dir::State::Lists=" + filepath.Join(a.dir, "lists"),
		"Dir::State::status=/dev/null", // nothing is installed, as far as this state goes
		"Dir::Cache=" + filepath.Join(a.dir, "cache"),
		// Container images turn these caches off and hide the lists in compression.
		"Dir::Cache::pkgcache=pkgcache.bin",
		"Dir::Cache::srcpkgcache=srcpkgcache.bin",
		"Acquire::GzipIndexes=false",
		"Acquire::Languages=none",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false",
		"Acquire::Retries=3",
		"APT::Architectures=" + strings.Join(a.arches, ","),
		"APT::Sandbox::User=root", // apt's own user cannot write in a home directory
	}
	all := []string{"-q"}
	for _, s := range settings {
		all = append(all, "-o", s)
	}
	return append(all, args...)
}

// Update reads the indexes of suites, in place of those read before. A suite that the
// mirror does not have, or no longer, is an error that names it.
func (a *Apt) Update(ctx context.Context, suites []string) ([]Package, error) {
	sources := a.mirror.sources(suites, a.arches)
	if err := os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(sources), 0o644); err != nil {
		return nil, fmt.Errorf("write sources: %w", err)
	}
	// What could be read is of use, even if something could not.
	_, updateErr := output(ctx, "apt-get", a.args("update")...)
	lists, err := filepath.Glob(filepath.Join(a.dir, "lists", "*_Packages"))
	if err != nil {
		return nil, fmt.Errorf("find lists: %w", err)
	}
	var all []Package
	for _, list := range lists {
		suite := suiteOf(list)
		err := parseFile(list, func(p Package) {
			p.Suite = suite
			all = append(all, p)
		})
		if err != nil {
			return nil, err
		}
	}
	return all, updateErr
}

// suiteOf finds the suite in the name of a list, which is its URI with underscores:
// ..._dists_bookworm-backports_main_binary-amd64_Packages.
func suiteOf(list string) string {
	_, rest, _ := strings.Cut(filepath.Base(list), "_dists_")
	suite, _, _ := strings.Cut(rest, "_")
	return suite
}

func parseFile(name string, keep func(Package)) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("open list: %w", err)
	}
	defer f.Close()
	return ParseIndex(f, keep)
}

// Download gets p, whose sum apt checks, and returns the path of the file, in the
// state's directory.
func (a *Apt) Download(ctx context.Context, p Package) (string, error) {
	dir, err := os.MkdirTemp(a.dir, "deb-")
	if err != nil {
		return "", fmt.Errorf("download %s: %w", p.Name, err)
	}
	name := p.Name
	if p.Arch != "all" {
		name += ":" + p.Arch
	}
	if _, err := outputIn(ctx, dir, "apt-get", a.args("download", name+"="+p.Version)...); err != nil {
		return "", fmt.Errorf("download %s: %w", p.Name, err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("download %s: %d files came", p.Name, len(found))
	}
	return found[0], nil
}

// Unpack puts the files of a package into dir.
func Unpack(ctx context.Context, deb, dir string) error {
	if _, err := output(ctx, "dpkg-deb", "-x", deb, dir); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	return nil
}
