// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"finwait/tracer/event"
)

// Seed counts what existed when tracing began.
type Seed struct {
	Sockets    int // TCP sockets between the handshake and CLOSE
	TimeWaits  int // TIME_WAIT mini-sockets, orphans' FIN_WAIT2 included
	Namespaces []Namespace
	Readings   []Reading // of the kernel's own counters, just after attaching
	Took       time.Duration
	Errs       []error // namespaces that could not be read, and iterators that this kernel lacks
}

// seedAll lists every socket of every network namespace, then every descriptor of
// every process. It runs after attaching: what comes into being meanwhile is seen
// twice, and the kernel side keeps what it knew first.
func (t *Tracer) seedAll() []event.Sample {
	began := time.Now()
	var samples []event.Sample
	status := make(map[string]error)
	for _, h := range seedHooks() {
		s := HookStatus{Hook: h}
		way := h.Ways[0]
		err := t.usable(way)
		if err == nil {
			err = t.objects.load(way.Programs)
		}
		if err == nil {
			s.Attached = way.Name
		} else {
			s.Errs = append(s.Errs, fmt.Errorf("%s: %w", way.Name, err))
			t.seed.Errs = append(t.seed.Errs, fmt.Errorf("load %s: %w", way.Name, err))
		}
		status[h.Name] = err
		t.status = append(t.status, s)
	}
	namespaces, err := listNamespaces()
	if err != nil {
		t.seed.Errs = append(t.seed.Errs, err)
	}
	if status["existing_sockets"] == nil {
		for _, ns := range namespaces {
			if f := t.opt.Filter.NetNS; f != 0 && f != ns.Inode {
				continue
			}
			err := ns.enter(func() error {
				ns.settings()
				if r, err := ns.read(); err == nil {
					t.seed.Readings = append(t.seed.Readings, r)
				}
				found, err := t.iterate("each_tcp")
				samples = append(samples, found...)
				return err
			})
			if err != nil {
				t.seed.Errs = append(t.seed.Errs, fmt.Errorf("list the sockets of network namespace %d: %w", ns.Inode, err))
				continue
			}
			t.seed.Namespaces = append(t.seed.Namespaces, *ns)
		}
	}
	if status["existing_owners"] == nil {
		if _, err := t.iterate("each_file"); err != nil {
			t.seed.Errs = append(t.seed.Errs, fmt.Errorf("list the owners of existing sockets: %w", err))
		}
	}
	for i := range samples {
		if samples[i].Kind == event.KindMiniSeen {
			t.seed.TimeWaits++
		} else {
			t.seed.Sockets++
		}
	}
	t.seed.Took = time.Since(began)
	return samples
}

// iterate runs an iterator to its end, in the network namespace of the calling
// thread, and decodes what it wrote.
func (t *Tracer) iterate(program string) ([]event.Sample, error) {
	p := t.objects.programs[program]
	it, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer r.Close()
	raw, err := readIterator(r)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	var samples []event.Sample
	var errs []error
	for ; len(raw) >= sampleSize; raw = raw[sampleSize:] {
		var s event.Sample
		if err := Decode(raw[:sampleSize], &s); err != nil {
			errs = append(errs, err)
			continue
		}
		samples = append(samples, s)
	}
	return samples, errors.Join(errs...)
}

// readIterator reads to the end. After a million objects without output the kernel
// gives other tasks a turn and says EAGAIN (bpf_seq_read()); the next read goes on.
func readIterator(r io.Reader) ([]byte, error) {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil && !errors.Is(err, unix.EAGAIN):
			return all, err
		}
	}
}

// Sockets returns how many live sockets the kernel side remembers now, and how many it can.
func (t *Tracer) Sockets() (used, size uint32, err error) {
	m := t.objects.maps["socks"]
	var key uint64
	var value []byte
	it := m.Iterate()
	for it.Next(&key, &value) {
		used++
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return used, m.MaxEntries(), fmt.Errorf("count remembered sockets: %w", err)
	}
	return used, m.MaxEntries(), nil
}
