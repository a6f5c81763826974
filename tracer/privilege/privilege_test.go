// SPDX-License-Identifier: Apache-2.0

package privilege

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseKeep(t *testing.T) {
	for _, tc := range []struct {
		list, want string
		all        bool
	}{
		{"", "none", false}, {"none", "none", false}, {"all", "all", true},
		{"cap_sys_ptrace", "cap_sys_ptrace", false}, {"CAP_SYS_PTRACE", "cap_sys_ptrace", false}, {"sys_ptrace", "cap_sys_ptrace", false},
		{"cap_sys_ptrace, cap_bpf", "cap_bpf,cap_sys_ptrace", false},
	} {
		k, err := ParseKeep(tc.list)
		if err != nil || k.String() != tc.want || k.All() != tc.all {
			t.Errorf("%q: %v, %v; want %s", tc.list, k, err, tc.want)
		}
	}
	for _, list := range []string{"everything", "cap_", ",", "cap_bpf,", "cap_bpf;cap_perfmon", "all,none"} {
		if k, err := ParseKeep(list); err == nil || !strings.Contains(err.Error(), "cap_sys_ptrace") {
			t.Errorf("%q: %v, %v; want an error with an example", list, k, err)
		}
	}
	var k Keep
	k.Add("CAP_BPF", "CAP_BPF", "nonsense")
	if k.String() != "cap_bpf" {
		t.Errorf("added: %v", k)
	}
}

// TestNestedUser: only the first user namespace maps every id to itself.
func TestNestedUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "uid_map")
	for text, want := range map[string]bool{
		"         0          0 4294967295\n": false,
		"         0       1000          1\n": true,
		"         0          0      65536\n": true,
		"         0     100000      65536\n": true,
		"":                                   true,
		"what\n":                             true,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := nestedUser(path); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if nestedUser(filepath.Join(t.TempDir(), "none")) {
		t.Error("without /proc, nothing is known, and nothing must be refused")
	}
}

// TestTable: every entry can be parsed, and says what a reader needs.
func TestTable(t *testing.T) {
	for _, c := range Table {
		if v, ok := parse(c.Name); !ok || v != c.value {
			t.Errorf("%s is not %v", c.Name, c.value)
		}
		if c.Use == "" || c.Cost == "" {
			t.Errorf("%s: what for, and what without it?", c.Name)
		}
	}
	if !Lacks("CAP_NOT_THERE") {
		t.Error("a capability that is not in the table is not held")
	}
}

// TestWithout: the thread that tries has nothing, and the others keep what they have.
func TestWithout(t *testing.T) {
	before := len(Missing())
	err := Without(func() error {
		if n := len(Missing()); n != len(Table) {
			t.Errorf("%d of %d capabilities are missing", n, len(Table))
		}
		return os.ErrClosed
	})
	if err != os.ErrClosed {
		t.Errorf("error = %v, want the function's", err)
	}
	if after := len(Missing()); after != before {
		t.Errorf("%d capabilities were missing before, %d are afterwards", before, after)
	}
}

// TestWithoutThenDrop: the threads that have tried are like the others again; if they were
// not, giving up would end the process.
func TestWithoutThenDrop(t *testing.T) {
	if Lacks("CAP_SETPCAP") {
		t.Skip("needs CAP_SETPCAP")
	}
	if os.Getenv("FINWAIT_TEST_DROP") == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run", "^TestWithoutThenDrop$", "-test.v")
		cmd.Env = append(os.Environ(), "FINWAIT_TEST_DROP=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v:\n%s", err, out)
		}
		return
	}
	for range 200 {
		if err := Without(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := Drop(Keep{}); err != nil {
		t.Fatal(err)
	}
	if n := len(Missing()); n != len(Table) {
		t.Errorf("%d of %d capabilities are given up", n, len(Table))
	}
}
