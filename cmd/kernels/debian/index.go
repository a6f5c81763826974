// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Package is one version of one package in an index.
type Package struct {
	Name    string
	Version string
	Arch    string // Debian's name of it, which for amd64 and arm64 is Go's as well
	SHA256  string
	Size    int64 // of the download, in bytes
	Depends string
	Suite   string // such as bookworm-backports; not from the index itself
}

func (p Package) String() string { return p.Name + " " + p.Version }

// Requires lists the packages that p depends on, the first of each set of
// alternatives, without versions.
func (p Package) Requires() []string {
	var names []string
	for clause := range strings.SplitSeq(p.Depends, ",") {
		first, _, _ := strings.Cut(clause, "|")
		name, _, _ := strings.Cut(strings.TrimSpace(first), " ")
		name, _, _ = strings.Cut(name, ":") // :any
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// ParseIndex reads a Packages file (deb822(5)) and calls keep for each package.
func ParseIndex(r io.Reader, keep func(Package)) error {
	var p Package
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		line := s.Text()
		if line == "" {
			if p.Name != "" {
				keep(p)
			}
			p = Package{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name { // a continuation line begins with a space and matches nothing
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Arch = value
		case "SHA256":
			p.SHA256 = value
		case "Depends":
			p.Depends = value
		case "Size":
			size, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return fmt.Errorf("parse size of %s: %w", p.Name, err)
			}
			p.Size = size
		}
	}
	if p.Name != "" {
		keep(p)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return nil
}
