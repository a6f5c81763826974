// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uring is the smallest io_uring there can be: one operation at a time, waited for.
type uring struct {
	fd       int
	sq, cq   []byte
	sqes     []byte
	p        uringParams
	sequence uint64
	to       unix.RawSockaddrInet4 // not on the stack, which may move
}

// The kernel's struct io_uring_params (include/uapi/linux/io_uring.h).
type uringParams struct {
	sqEntries, cqEntries, flags, sqCPU, sqIdle, features, wqFD uint32
	resv                                                       [3]uint32
	sqOff                                                      struct {
		head, tail, mask, entries, flags, dropped, array, resv1 uint32
		userAddr                                                uint64
	}
	cqOff struct {
		head, tail, mask, entries, overflow, cqes, flags, resv1 uint32
		userAddr                                                uint64
	}
}

// struct io_uring_sqe and io_uring_cqe, as far as they are used here.
type uringSQE struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off, addr     uint64
	len, opFlags  uint32
	userData      uint64
	_             [3]uint64
}

type uringCQE struct {
	userData uint64
	res      int32
	flags    uint32
}

const (
	uringOpAccept   = 13
	uringOpConnect  = 16
	uringOpClose    = 19
	uringOpShutdown = 34 // 5.11

	uringOffSQ     = 0
	uringOffCQ     = 0x8000000
	uringOffSQEs   = 0x10000000
	uringGetEvents = 1
)

func newUring() (*uring, error) {
	r := &uring{}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&r.p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r.fd = int(fd)
	unix.CloseOnExec(r.fd)
	var err error
	mapping := func(at int64, size uint32) (b []byte) {
		if err == nil {
			b, err = unix.Mmap(r.fd, at, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		}
		return b
	}
	r.sq = mapping(uringOffSQ, r.p.sqOff.array+r.p.sqEntries*4)
	r.cq = mapping(uringOffCQ, r.p.cqOff.cqes+r.p.cqEntries*uint32(unsafe.Sizeof(uringCQE{})))
	r.sqes = mapping(uringOffSQEs, r.p.sqEntries*uint32(unsafe.Sizeof(uringSQE{})))
	return r, err
}

func word(b []byte, off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[off])) }

// run submits one operation and waits for its result.
func (r *uring) run(op uringSQE) (int, error) {
	r.sequence++
	op.userData = r.sequence
	tail := atomic.LoadUint32(word(r.sq, r.p.sqOff.tail))
	slot := tail & *word(r.sq, r.p.sqOff.mask)
	*(*uringSQE)(unsafe.Pointer(&r.sqes[slot*uint32(unsafe.Sizeof(op))])) = op
	*word(r.sq, r.p.sqOff.array+4*slot) = slot
	atomic.StoreUint32(word(r.sq, r.p.sqOff.tail), tail+1)
	submit := uintptr(1)
	for {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), submit, 1, uringGetEvents, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return 0, fmt.Errorf("io_uring_enter: %w", errno)
		}
		head := atomic.LoadUint32(word(r.cq, r.p.cqOff.head))
		if head != atomic.LoadUint32(word(r.cq, r.p.cqOff.tail)) {
			at := head & *word(r.cq, r.p.cqOff.mask) * uint32(unsafe.Sizeof(uringCQE{}))
			done := *(*uringCQE)(unsafe.Pointer(&r.cq[r.p.cqOff.cqes+at]))
			atomic.StoreUint32(word(r.cq, r.p.cqOff.head), head+1)
			if done.res < 0 {
				return 0, unix.Errno(-done.res)
			}
			return int(done.res), nil
		}
		if atomic.LoadUint32(word(r.sq, r.p.sqOff.head)) == tail+1 {
			submit = 0 // taken before the signal came
		}
	}
}

func (r *uring) connect(fd int, to *unix.SockaddrInet4) error {
	r.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr}
	port := (*[2]byte)(unsafe.Pointer(&r.to.Port))
	port[0], port[1] = byte(to.Port>>8), byte(to.Port)
	_, err := r.run(uringSQE{opcode: uringOpConnect, fd: int32(fd), addr: uint64(uintptr(unsafe.Pointer(&r.to))), off: uint64(unsafe.Sizeof(r.to))})
	return err
}

func (r *uring) accept(fd int) (int, error) {
	return r.run(uringSQE{opcode: uringOpAccept, fd: int32(fd), opFlags: unix.SOCK_CLOEXEC})
}

func (r *uring) shutdown(fd int) error {
	_, err := r.run(uringSQE{opcode: uringOpShutdown, fd: int32(fd), len: unix.SHUT_WR})
	return err
}

func (r *uring) close(fd int) error {
	_, err := r.run(uringSQE{opcode: uringOpClose, fd: int32(fd)})
	return err
}
