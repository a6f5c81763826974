// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestParseTargets(t *testing.T) {
	targets, err := parseTargets("5.10, newest,6.12-arm64,6.1-amd64")
	if err != nil {
		t.Fatal(err)
	}
	if got := names(targets); got != "5.10,newest,6.12-arm64,6.1" {
		t.Errorf("targets %s", got)
	}
	for _, target := range targets {
		if !target.required {
			t.Errorf("%s is not required", target)
		}
	}
	for _, bad := range []string{"", "6", "6.12.1", "6.12,", "6.12-mips", "../6.12"} {
		if targets, err := parseTargets(bad); err == nil {
			t.Errorf("%q is %v", bad, targets)
		}
	}
}

func TestSeries(t *testing.T) {
	for release, want := range map[string]string{
		"5.10.0-46-cloud-amd64":      "5.10",
		"6.12.117+deb13-cloud-amd64": "6.12",
		"7.3+deb13-cloud-amd64":      "7.3",
	} {
		if got := seriesOf(release); got != want {
			t.Errorf("%s is %s, want %s", release, got, want)
		}
	}
	for older, newer := range map[string]string{"6.12": "7.2", "7.2": "7.10", "6.2": "6.12"} {
		if !olderSeries(older, newer) || olderSeries(newer, older) || olderSeries(older, older) {
			t.Errorf("%s is not older than %s", older, newer)
		}
	}
}
