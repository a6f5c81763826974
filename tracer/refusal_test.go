// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTooOld(t *testing.T) {
	for release, old := range map[string]bool{
		"4.19.0-27-amd64": true, "5.4.0": true, "5.9.99": true, "3.10.0-1160.el7": true,
		"5.10.0-33-amd64": false, "5.15.0": false, "6.1.0": false, "10.0.0": false, "unknown": false, "": false,
	} {
		if got := tooOld(release); (got != "") != old || old && !strings.Contains(got, "5.10 or newer") {
			t.Errorf("%s: %q, want old %v", release, got, old)
		}
	}
}

// TestRefusal: the same errno means one thing or another; the exit status and the advice follow.
func TestRefusal(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want error
		says []string
	}{
		{"a policy", fmt.Errorf("load: %w", unix.EPERM), ErrKernel, []string{"refused with EPERM", "policy"}},
		{"no bpf()", fmt.Errorf("map create: %w", unix.ENOSYS), ErrKernel, []string{"no bpf() system call", "CONFIG_BPF_SYSCALL"}},
		{"a missing privilege stays one", fmt.Errorf("%w: CAP_SYSLOG", ErrPrivilege), ErrPrivilege, []string{"CAP_SYSLOG"}},
		{"anything else", fmt.Errorf("load: %w", unix.EINVAL), ErrKernel, []string{"invalid argument"}},
	} {
		err := refusal("hook x", tc.err)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), "hook x") {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
		for _, text := range tc.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v does not say %q", tc.name, err, text)
			}
		}
		if strings.Contains(err.Error(), "MEMLOCK") {
			t.Errorf("%s: %v: a hint that leads astray", tc.name, err)
		}
	}
}

func TestPolicies(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	free, filtered := file("free", "Name:\tx\nSeccomp:\t0\n"), file("filtered", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n")
	none, integrity := file("none", "[none] integrity confidentiality\n"), file("integrity", "none [integrity] confidentiality\n")
	locked, absent := file("locked", "none integrity [confidentiality]\n"), filepath.Join(dir, "absent")
	for _, tc := range []struct {
		status, lockdown  string
		seccomp, lockedUp bool
	}{
		{free, none, false, false}, {filtered, none, true, false}, {free, locked, false, true},
		{filtered, locked, true, true}, {free, integrity, false, false}, {absent, absent, false, false},
	} {
		got := policies(tc.status, tc.lockdown)
		if strings.Contains(got, "seccomp") != tc.seccomp || strings.Contains(got, "lockdown") != tc.lockedUp || got == "" {
			t.Errorf("%s, %s: %q", filepath.Base(tc.status), filepath.Base(tc.lockdown), got)
		}
	}
}
