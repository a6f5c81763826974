// SPDX-License-Identifier: Apache-2.0

package debian

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// mirror is where this machine gets Debian from.
type mirror struct {
	archive  string // the URI of the archive
	security string // that of the security updates, which may be elsewhere; "" is none
}

// Codename is the machine's own release, such as bookworm.
func Codename() (string, error) {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find release: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if v, ok := strings.CutPrefix(s.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`), nil
		}
	}
	if err := s.Err(); err != nil {
		return "", fmt.Errorf("find release: %w", err)
	}
	return "", errors.New("find release: no VERSION_CODENAME in /etc/os-release")
}

func findMirror(ctx context.Context) (mirror, error) {
	codename, err := Codename()
	if err != nil {
		return mirror{}, err
	}
	// Of a machine that never read its indexes, too.
	out, err := output(ctx, "apt-get", "indextargets", "--no-release-info",
		"--format", "$(CREATED_BY) $(COMPONENT) $(RELEASE) $(REPO_URI)")
	if err != nil {
		return mirror{}, fmt.Errorf("find mirror: %w", err)
	}
	return parseMirror(out, codename)
}

// parseMirror takes the first source that looks like Debian itself: others may use its
// names for their own suites.
func parseMirror(targets, codename string) (mirror, error) {
	var m mirror
	for line := range strings.Lines(targets) {
		field := strings.Fields(line)
		if len(field) != 4 || field[0] != "Packages" || field[1] != "main" {
			continue
		}
		uri := field[3]
		switch field[2] {
		case codename:
			if m.archive == "" || isDebian(uri) && !isDebian(m.archive) {
				m.archive = uri
			}
		case codename + "-security":
			if m.security == "" {
				m.security = uri
			}
		}
	}
	if m.archive == "" {
		return m, fmt.Errorf("find mirror: apt has no source for %s main", codename)
	}
	return m, nil
}

func isDebian(uri string) bool { return strings.HasSuffix(strings.TrimRight(uri, "/"), "/debian") }

// sources is the text of a sources.list for suites.
func (m mirror) sources(suites, arches []string) string {
	options := "arch=" + strings.Join(arches, ",")
	// A machine may trust this key for its own sources only.
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	if _, err := os.Stat(keyring); err == nil {
		options += " signed-by=" + keyring
	}
	var b strings.Builder
	for _, suite := range suites {
		uri := m.archive
		if strings.HasSuffix(suite, "-security") {
			uri = m.security
		}
		if uri != "" {
			fmt.Fprintf(&b, "deb [%s] %s %s main\n", options, uri, suite)
		}
	}
	return b.String()
}
