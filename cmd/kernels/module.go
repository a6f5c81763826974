// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// wantedModules are what the tests need and Debian's kernels do not have built in:
// links, and the socket dump by which sockets are counted and destroyed.
var wantedModules = []string{"veth", "inet_diag", "tcp_diag", "af_packet"}

// moduleTree is an unpacked kernel's modules. Packages come without modules.dep, which
// depmod writes at installation, so the modules themselves say what they need.
type moduleTree struct {
	files   map[string]string // of a name, the path, which may be of a compressed file
	builtin map[string]bool
	data    map[string][]byte // of a name, the decompressed file, if it was read
}

func openModules(root string) (*moduleTree, error) {
	t := &moduleTree{files: map[string]string{}, builtin: map[string]bool{}, data: map[string][]byte{}}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		base, _, isModule := strings.Cut(entry.Name(), ".ko")
		switch {
		case entry.Name() == "modules.builtin":
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(b)) {
				name, _, _ := strings.Cut(filepath.Base(strings.TrimSpace(line)), ".ko")
				t.builtin[moduleName(name)] = true
			}
		case isModule && entry.Type().IsRegular():
			t.files[moduleName(base)] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	return t, nil
}

// moduleName is how the kernel spells the name of a file.
func moduleName(file string) string { return strings.ReplaceAll(file, "-", "_") }

// depends decompresses a module and returns what it needs.
func (t *moduleTree) depends(ctx context.Context, name string) ([]string, error) {
	data, err := decompress(ctx, t.files[name])
	if err != nil {
		return nil, err
	}
	t.data[name] = data
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", name, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read module %s: no .modinfo", name)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", name, err)
	}
	return parseDepends(info), nil
}

// parseDepends finds the line depends=a,b among those of .modinfo, each of which ends
// with a zero byte (include/linux/moduleparam.h, scripts/mod/modpost.c).
func parseDepends(info []byte) []string {
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(entry, []byte("depends=")); ok {
			return strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' })
		}
	}
	return nil
}

func decompress(ctx context.Context, path string) ([]byte, error) {
	tool, ok := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(path)]
	if !ok {
		return os.ReadFile(path)
	}
	data, err := exec.CommandContext(ctx, tool, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", filepath.Base(path), err)
	}
	return data, nil
}

var errNoModule = errors.New("no such module")

// orderModules returns wanted and all they depend on, each after what it needs.
// depends may return errNoModule, for what is then in missing.
func orderModules(wanted []string, depends func(string) ([]string, error)) (order, missing []string, err error) {
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true // before those it needs, so that a ring ends
		needs, err := depends(name)
		if errors.Is(err, errNoModule) {
			missing = append(missing, name)
			return nil
		}
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := visit(moduleName(n)); err != nil {
				return err
			}
		}
		order = append(order, name)
		return nil
	}
	for _, name := range wanted {
		if err := visit(name); err != nil {
			return nil, nil, err
		}
	}
	return order, missing, nil
}

// extractModules writes wanted, and what they depend on, decompressed to dir. A module
// that the kernel has built in is neither in order nor missing.
func extractModules(ctx context.Context, root, dir string, wanted []string) (order, missing []string, err error) {
	tree, err := openModules(root)
	if err != nil {
		return nil, nil, err
	}
	wanted = slices.DeleteFunc(slices.Clone(wanted), func(n string) bool { return tree.builtin[n] })
	order, missing, err = orderModules(wanted, func(name string) ([]string, error) {
		if tree.files[name] == "" {
			return nil, errNoModule
		}
		return tree.depends(ctx, name)
	})
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make module directory: %w", err)
	}
	for _, name := range order {
		if err := os.WriteFile(filepath.Join(dir, name+".ko"), tree.data[name], 0o644); err != nil {
			return nil, nil, fmt.Errorf("write module: %w", err)
		}
	}
	return order, missing, nil
}
