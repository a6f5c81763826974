// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"finwait/cmd/kernels/debian"
)

// fetcher fills a cache. It reads a mirror only if something is not in the cache.
type fetcher struct {
	cache   cache
	refresh bool // fetch what is in the cache again
	quiet   bool // say nothing of what is in the cache
	log     io.Writer

	codename string   // the machine's own release, of which the emulator must be
	arches   []string // of packages
	dir      string   // for the time of the fetch
	apt      *debian.Apt
	index    []debian.Package
	whole    bool // index has every suite
}

// suites are those that have kernels. Most are in the small ones, and the large ones,
// of forty times the size, are read only if something is in none of those.
func (f *fetcher) suites(whole bool) []string {
	small := []string{
		f.codename + "-backports",
		"bullseye-security", "bookworm-security", "trixie-security", "trixie-backports",
	}
	if !whole {
		return small
	}
	return append(small, "bullseye", "bookworm", "trixie", "sid")
}

// fetch makes sure of the emulator and the kernels for targets, and returns the records
// of those kernels that there are.
func (f *fetcher) fetch(ctx context.Context, targets []target) (map[target]record, error) {
	release, err := f.cache.lock()
	if err != nil {
		return nil, err
	}
	defer release()
	if f.codename, err = debian.Codename(); err != nil {
		return nil, err
	}
	if f.dir, err = os.MkdirTemp(f.cache.dir, "fetch-"); err != nil {
		return nil, fmt.Errorf("make room for the fetch: %w", err)
	}
	defer os.RemoveAll(f.dir)
	var arches []string
	for _, t := range targets {
		arches = append(arches, t.arch)
	}
	arches = unique(arches)
	f.arches = unique(append(arches, runtime.GOARCH)) // the emulator is of the host's
	// The emulator first: with it comes what unpacks modules.
	for _, arch := range arches {
		if err := f.emulator(ctx, arch); err != nil {
			return nil, fmt.Errorf("fetch emulator: %w", err)
		}
	}
	kernels := map[target]record{}
	for _, t := range targets {
		if _, ok := kernels[t]; ok {
			continue
		}
		r, err := f.kernel(ctx, t)
		switch {
		case errors.Is(err, errAbsent) && !t.required:
			fmt.Fprintf(f.log, "SKIPPED: kernel %s: %v\n", t, err)
			continue
		case err != nil:
			return nil, fmt.Errorf("fetch kernel %s: %w", t, err)
		}
		kernels[t] = r
	}
	return kernels, nil
}

func unique(names []string) []string {
	sorted := slices.Sorted(slices.Values(names))
	return slices.Compact(sorted)
}

// tell says what there is, and where it came from.
func (f *fetcher) tell(what string, fetched bool, r record) {
	if fetched || !f.quiet {
		fmt.Fprintf(f.log, "%s: %s\n", what, r)
	}
}

var errAbsent = errors.New("the mirror does not have it, or has it no longer")

func (f *fetcher) kernel(ctx context.Context, t target) (record, error) {
	r, ok, err := f.cache.kernel(t)
	if err != nil {
		return r, err
	}
	fetch := !ok || f.refresh
	if fetch {
		if r, err = f.fetchKernel(ctx, t); err != nil {
			return r, err
		}
	}
	f.tell("kernel "+t.String(), fetch, r)
	return r, nil
}

func (f *fetcher) fetchKernel(ctx context.Context, t target) (r record, err error) {
	var b build
	var ok bool
	if err := f.find(ctx, func() bool { b, ok = choose(f.index, t); return ok }); err != nil {
		return r, err
	}
	if !ok {
		return r, errAbsent
	}
	r = record{Release: b.release, Packages: b.packages(), Wanted: wantedModules}
	root, err := f.unpack(ctx, r.Packages)
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(root)
	made := filepath.Join(f.dir, "kernel")
	if r.Modules, r.Missing, err = extractModules(ctx, root, filepath.Join(made, "modules"), wantedModules); err != nil {
		return r, err
	}
	image, err := findKernel(root)
	if err != nil {
		return r, err
	}
	if err := os.Rename(image, filepath.Join(made, "vmlinuz")); err != nil {
		return r, fmt.Errorf("move kernel: %w", err)
	}
	return r, replace(made, f.cache.kernelDir(t), r)
}

// findKernel finds the image, which is in /boot, or from 7.2 on beside the modules;
// an unsigned one may say so in its name.
func findKernel(root string) (string, error) {
	for _, pattern := range []string{"boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz*"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", fmt.Errorf("find kernel: %w", err)
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	return "", errors.New("find kernel: the package has none")
}

// find reads the indexes until found says that it is in them.
func (f *fetcher) find(ctx context.Context, found func() bool) error {
	if f.apt == nil {
		apt, err := debian.NewApt(ctx, filepath.Join(f.dir, "apt"), f.arches)
		if err != nil {
			return err
		}
		f.apt = apt
		if err := f.update(ctx, f.suites(false)); err != nil {
			return err
		}
	}
	if found() || f.whole {
		return nil
	}
	f.whole = true
	if err := f.update(ctx, f.suites(true)); err != nil {
		return err
	}
	found()
	return nil
}

// update goes on without a suite that the mirror does not have: old ones go away.
func (f *fetcher) update(ctx context.Context, suites []string) (err error) {
	f.index, err = f.apt.Update(ctx, suites)
	if err != nil && len(f.index) > 0 {
		fmt.Fprintf(f.log, "WARNING: %v\n", err)
		return nil
	}
	return err
}

// unpack downloads packages and puts their files into a new directory.
func (f *fetcher) unpack(ctx context.Context, packages []debian.Package) (string, error) {
	root, err := os.MkdirTemp(f.dir, "root-")
	if err != nil {
		return "", fmt.Errorf("make room for packages: %w", err)
	}
	for _, p := range packages {
		deb, err := f.apt.Download(ctx, p)
		if err != nil {
			return "", err
		}
		if err := debian.Unpack(ctx, deb, root); err != nil {
			return "", err
		}
		if err := os.Remove(deb); err != nil {
			return "", fmt.Errorf("remove package: %w", err)
		}
	}
	return root, nil
}
