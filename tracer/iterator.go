// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// eachRecord runs an iterator to its end, in the network namespace of the calling thread,
// and hands on its records, each of size bytes and valid until record returns. After a
// million objects without output the kernel gives other tasks a turn and says EAGAIN
// (bpf_seq_read()); the next read goes on.
func eachRecord(iterator *ebpf.Program, size int, record func([]byte)) error {
	it, err := link.AttachIter(link.IterOptions{Program: iterator})
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer r.Close()
	buf, have := make([]byte, 128<<10), 0
	for {
		n, err := r.Read(buf[have:])
		have += n
		at := 0
		for ; have-at >= size; at += size {
			record(buf[at : at+size])
		}
		have = copy(buf, buf[at:have])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("read: %w", err)
		}
	}
}
