// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"finwait/cmd/kernels/guest"
)

// Image is the guest's first file system, and its only one.
type Image struct {
	Init    string        // the guest's init, a static program
	Program string        // a static program, put where Payload.Args[0] says
	Payload guest.Payload // what to run
	// Modules is a directory on the host that holds Payload.Modules.
	Modules string
	Copies  []Copy
}

// Copy puts a file of the host, or a directory with all below it, into the guest. A
// Source that does not exist is an error.
type Copy struct{ Source, Target string }

// write writes the image to a new file.
func (i Image) write(name string) (err error) {
	for _, program := range []string{i.Init, i.Program} {
		if err := checkStatic(program); err != nil {
			return err
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("create image: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	a := newArchive(w)
	if err := i.fill(a); err != nil {
		return fmt.Errorf("fill image: %w", err)
	}
	if err := a.close(); err != nil {
		return fmt.Errorf("fill image: %w", err)
	}
	return w.Flush()
}

func (i Image) fill(a *archive) error {
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "run", "root", i.Payload.Dir} {
		a.dir(dir)
	}
	// The kernel opens the console for init before anything is mounted.
	a.device("dev/console", 0o600, 5, 1)
	a.device("dev/null", 0o666, 1, 3)
	a.file("etc/hosts", 0o644, []byte("127.0.0.1 localhost\n::1 localhost\n"))
	a.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	payload, err := json.Marshal(i.Payload)
	if err != nil {
		return fmt.Errorf("encode payload: %w", err)
	}
	a.file(guest.PayloadPath, 0o644, payload)
	copies := []Copy{{i.Init, guest.InitPath}, {i.Program, i.Payload.Args[0]}}
	for _, m := range i.Payload.Modules {
		copies = append(copies, Copy{filepath.Join(i.Modules, m), path.Join(guest.ModuleDir, m)})
	}
	for _, c := range append(copies, i.Copies...) {
		if err := addTree(a, c); err != nil {
			return err
		}
	}
	return nil
}

func addTree(a *archive, c Copy) error {
	return filepath.WalkDir(c.Source, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(c.Source, name)
		if err != nil {
			return err
		}
		target := path.Join(c.Target, filepath.ToSlash(below))
		info, err := os.Stat(name) // not the entry's: a link is copied as what it leads to
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			a.dir(target)
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			a.file(target, int(info.Mode().Perm()), data)
		}
		return nil
	})
}

// checkStatic refuses a program that needs a loader and libraries: the guest has none,
// and would only say that there is no such file.
func checkStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("read program %s: %w", program, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("use program %s: not static; build it with CGO_ENABLED=0", program)
		}
	}
	return nil
}
