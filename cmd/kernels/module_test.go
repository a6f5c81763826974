// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOrderModules(t *testing.T) {
	needs := map[string][]string{
		"veth":        nil,
		"inet_diag":   nil,
		"tcp_diag":    {"inet-diag"}, // as a file is called
		"mptcp_diag":  {"inet_diag", "tcp_diag"},
		"ring_a":      {"ring_b"},
		"ring_b":      {"ring_a"},
		"half_broken": {"gone", "veth"},
	}
	depends := func(name string) ([]string, error) {
		n, ok := needs[name]
		if !ok {
			return nil, errNoModule
		}
		return n, nil
	}
	for _, tc := range []struct{ wanted, order, missing []string }{
		{[]string{"mptcp_diag", "veth", "tcp_diag"}, []string{"inet_diag", "tcp_diag", "mptcp_diag", "veth"}, nil},
		{[]string{"tcp_diag", "inet_diag"}, []string{"inet_diag", "tcp_diag"}, nil},
		{[]string{"ring_a"}, []string{"ring_b", "ring_a"}, nil},
		{[]string{"veth", "gone", "half_broken"}, []string{"veth", "half_broken"}, []string{"gone"}},
		{nil, nil, nil},
	} {
		order, missing, err := orderModules(tc.wanted, depends)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([][]string{tc.order, tc.missing}, [][]string{order, missing}); diff != "" {
			t.Errorf("%v: %s", tc.wanted, diff)
		}
	}
	broken := errors.New("broken")
	if _, _, err := orderModules([]string{"a"}, func(string) ([]string, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestParseDepends(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=inet_diag,tcp_diag\x00retpoline=Y\x00": {"inet_diag", "tcp_diag"},
		"license=GPL\x00depends=\x00":                                  {},
		"license=GPL\x00":                                              nil,
	} {
		if diff := cmp.Diff(want, parseDepends([]byte(info))); diff != "" {
			t.Errorf("%q: %s", info, diff)
		}
	}
}
