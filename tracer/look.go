// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"finwait/tracer/event"
)

const lookProgram = "look"

// loadLook loads the program of Look and runs it once: the library finds out then whether
// programs can be run, which takes privileges that will be gone later.
func (t *Tracer) loadLook() error {
	if !t.objects.helpers.cookie {
		return fmt.Errorf("look at sockets: this kernel gives programs no cookie: %w", errors.ErrUnsupported)
	}
	if err := t.objects.load([]string{lookProgram}); err != nil {
		return fmt.Errorf("load %s: %w", lookProgram, err)
	}
	_, err := t.Look(0, 0)
	return err
}

// Look reports whether the socket, or mini-socket, that was at this address with this
// cookie is still there. It works in every network namespace and needs no privilege once
// it is loaded. An error wraps errors.ErrUnsupported where this kernel cannot tell.
func (t *Tracer) Look(sock, cookie uint64) (bool, error) {
	p := t.objects.programs[lookProgram]
	if p == nil {
		return false, fmt.Errorf("look at a socket: %w", errors.ErrUnsupported)
	}
	state, err := p.Run(&ebpf.RunOptions{Context: struct{ Sock, Cookie uint64 }{sock, cookie}})
	if err != nil {
		return false, fmt.Errorf("look at a socket: %w", err)
	}
	return state != 0, nil
}

// TimeWaits lists the mini-sockets that exist now in the network namespaces that this
// process can enter: without CAP_SYS_ADMIN, that is its own.
func (t *Tracer) TimeWaits() []event.Sample {
	if t.objects.programs["each_tcp"] == nil {
		return nil
	}
	var found []event.Sample
	for i := range t.seed.Namespaces {
		t.seed.Namespaces[i].enter(func() error {
			samples, err := t.iterate("each_tcp")
			for _, s := range samples {
				if s.Kind == event.KindMiniSeen {
					found = append(found, s)
				}
			}
			return err
		})
	}
	return found
}
