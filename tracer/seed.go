// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

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
	var samples []event.Sample
	var bad []error
	err := eachRecord(t.objects.programs[program], sampleSize, func(raw []byte) {
		var s event.Sample
		if err := Decode(raw, &s); err != nil {
			bad = append(bad, err)
			return
		}
		samples = append(samples, s)
	})
	if err != nil {
		return nil, err
	}
	return samples, errors.Join(bad...)
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
