// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestCacheOf: the library's cache takes the types that it is given.
func TestCacheOf(t *testing.T) {
	var b btf.Builder
	if _, err := b.Add(&btf.Struct{Name: "finwait_test", Size: 1}); err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "btf")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpec(file)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := cacheOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cache.Kernel()
	if err != nil || got != spec {
		t.Errorf("the cache has %p, %v; want %p", got, err, spec)
	}
	// It is type information, and no kernel's.
	if _, _, err := loadTypes(file); !errors.Is(err, ErrTypes) || !strings.Contains(err.Error(), "another kernel") {
		if _, kerr := kernelTypes(); kerr != nil {
			t.Skip(kerr)
		}
		t.Errorf("error = %v, want ErrTypes: of another kernel", err)
	}
}

// TestTypesIn: whatever is wrong with the file, the error names it and says what.
func TestTypesIn(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"empty": "", "garbage": "not type information at all", "cut": "\x9f\xeb\x01\x00\x18\x00\x00\x00",
		"elf-cut": "\x7fELF\x02\x01\x01", "absent": "",
	} {
		file := filepath.Join(dir, name)
		if name != "absent" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := readTypes(file); !errors.Is(err, ErrTypes) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: error = %v, want ErrTypes with the name of the file", name, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readTypes(self); !errors.Is(err, ErrTypes) || !strings.Contains(err.Error(), "without a .BTF section") {
		t.Errorf("a program file: error = %v", err)
	}
	if _, err := readTypes(dir); !errors.Is(err, ErrTypes) {
		t.Errorf("a directory: error = %v", err)
	}
}
