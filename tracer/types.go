// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kernelTypesFile is where the kernel shows its own type information (BTF).
const kernelTypesFile = "/sys/kernel/btf/vmlinux"

// loadTypes returns this kernel's type information, from a file if one is named, and a
// cache that has it. A file is held against the kernel's own: with another kernel's, programs
// would read the wrong memory and say so in no way.
func loadTypes(file string) (*btf.Spec, *btf.Cache, error) {
	spec, err := readTypes(file)
	if err != nil {
		return nil, nil, err
	}
	cache, err := cacheOf(spec)
	return spec, cache, err
}

func readTypes(file string) (*btf.Spec, error) {
	if file == "" {
		if st, err := os.Stat(kernelTypesFile); err == nil && st.Size() > 0 {
			return btf.LoadKernelSpec() // mapped, not read
		}
		raw, err := kernelTypes()
		if err == nil {
			return btf.LoadSpecFromReader(bytes.NewReader(raw))
		}
		// A vmlinux in /boot or where debuggers look for it.
		if spec, ferr := btf.LoadKernelSpec(); ferr == nil {
			return spec, nil
		}
		return nil, err
	}
	raw, err := typesIn(file)
	if err != nil {
		return nil, err
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v; name a copy of this kernel's %s, or its vmlinux", ErrTypes, file, err, kernelTypesFile)
	}
	own, err := kernelTypes()
	if err != nil {
		return nil, fmt.Errorf("compare %s with what this kernel says of itself: %w", file, err)
	}
	if !bytes.Equal(raw, own) {
		return nil, fmt.Errorf("%w: %s is of another kernel, or of another build of this one; name a copy of this very kernel's %s, or leave the flag out", ErrTypes, file, kernelTypesFile)
	}
	return spec, nil
}

// typesIn reads type information from a file: by itself, or a section of an ELF file.
func typesIn(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrTypes, file, err)
	}
	if !bytes.HasPrefix(raw, []byte(elf.ELFMAG)) {
		return raw, nil
	}
	object, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrTypes, file, err)
	}
	section := object.Section(".BTF")
	if section == nil {
		return nil, fmt.Errorf("%w: %s is an ELF file without a .BTF section", ErrTypes, file)
	}
	raw, err = section.Data()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrTypes, file, err)
	}
	return raw, nil
}

// kernelTypes returns the kernel's own type information, raw: from /sys, or by bpf(),
// which needs CAP_SYS_ADMIN.
func kernelTypes() ([]byte, error) {
	if raw, err := os.ReadFile(kernelTypesFile); err == nil && len(raw) > 0 {
		return raw, nil
	}
	h, err := btf.FindHandle(func(info *btf.HandleInfo) bool { return info.IsVmlinux() })
	switch {
	case errors.Is(err, btf.ErrNotFound):
		return nil, fmt.Errorf("%w: it carries no type information of itself (built without CONFIG_DEBUG_INFO_BTF), which all of finwait's hooks need; "+
			"a file cannot stand in for it: boot a kernel of your distribution that has %s%s", ErrKernel, kernelTypesFile, age())
	case isPrivilege(err):
		return nil, fmt.Errorf("%w: %s cannot be read here, and asking the kernel itself needs CAP_SYS_ADMIN; mount sysfs on /sys, or run finwait as root", ErrPrivilege, kernelTypesFile)
	case err != nil:
		return nil, refusal("ask for the kernel's type information", err)
	}
	defer h.Close()
	raw, err := rawTypes(h.FD())
	if err != nil {
		return nil, refusal("read the kernel's type information", err)
	}
	return raw, nil
}

// rawTypes is BPF_OBJ_GET_INFO_BY_FD of a BTF object: once for the size, once for the bytes.
func rawTypes(fd int) ([]byte, error) {
	const objGetInfoByFD = 15
	var raw []byte
	for range 2 {
		// struct bpf_btf_info in include/uapi/linux/bpf.h
		info := struct {
			btf            uint64
			size, id       uint32
			name           uint64
			nameLen, flags uint32
		}{size: uint32(len(raw))}
		if raw != nil {
			info.btf = uint64(uintptr(unsafe.Pointer(&raw[0])))
		}
		attr := struct {
			fd, len uint32
			info    uint64
		}{uint32(fd), uint32(unsafe.Sizeof(info)), uint64(uintptr(unsafe.Pointer(&info)))}
		_, _, errno := unix.Syscall(unix.SYS_BPF, objGetInfoByFD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		runtime.KeepAlive(&info)
		if errno != 0 {
			return nil, errno
		}
		if raw == nil {
			raw = make([]byte, info.size)
		}
	}
	return raw, nil
}

// cacheOf makes a cache that need not look for the kernel's types. The library fills its
// caches from /sys alone, so this sets the field that it would set.
func cacheOf(spec *btf.Spec) (*btf.Cache, error) {
	c := btf.NewCache()
	f := reflect.ValueOf(c).Elem().FieldByName("kernelTypes")
	if !f.IsValid() || f.Type() != reflect.TypeOf(spec) {
		return nil, errors.New("keep the kernel's types: the BPF library has no such field any more")
	}
	reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Set(reflect.ValueOf(spec))
	return c, nil
}
