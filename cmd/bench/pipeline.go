// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"runtime"
	"time"

	"finwait/output/jsonl"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
)

// pipeline is everything between the ring and the file: decode, flow, JSON.
type pipeline struct {
	flow   *flow.Flow
	sample event.Sample
	raw    []byte // one connection's ring records
	size   []int  // of each of them
	n      uint64
	now    int64
}

// records hands flow's records to a Writer.
type records struct{ *jsonl.Writer }

// wire offsets, as bpf/event.h has them.
const (
	wireEvent = 128
	wireOwner = 56
)

// perConnection is how many ring records one connection of the load has.
const perConnection = 8

func newPipeline(w io.Writer) *pipeline {
	p := &pipeline{now: int64(time.Hour)}
	p.flow = flow.New(records{jsonl.New(w, event.Clock{Offset: 1_700_000_000_000_000_000})}, flow.Options{SegmentsSeen: true})
	step := func(client bool, from, to event.State, known event.Attribution, flags event.Flags) {
		b := p.add(client, event.KindTransition, known, flags)
		b[120], b[121] = byte(from), byte(to)
	}
	mini := func(kind event.Kind, reason event.Reason) {
		b := p.add(true, kind, event.AttributionUnknown, 0)
		b[121], b[124] = byte(event.TimeWait), byte(reason)
	}
	const call = event.FlagCall | event.FlagClosing | event.FlagShutBoth
	step(true, event.Established, event.FinWait1, event.Exact, call)
	step(false, event.Established, event.CloseWait, event.Cached, 0)
	step(true, event.FinWait1, event.FinWait2, event.Cached, event.FlagOrphan)
	step(false, event.CloseWait, event.LastAck, event.Exact, call)
	mini(event.KindArmed, event.ReasonUnknown)
	step(true, event.FinWait2, event.Close, event.Cached, event.FlagOrphan)
	step(false, event.LastAck, event.Close, event.Cached, event.FlagOrphan)
	mini(event.KindDead, event.ReasonExpired)
	return p
}

// add appends a record of one end, with what does not change from connection to connection.
func (p *pipeline) add(client bool, kind event.Kind, known event.Attribution, flags event.Flags) []byte {
	size := wireEvent
	if known != event.AttributionUnknown {
		size += wireOwner
		flags |= event.FlagOwner
	}
	at := len(p.raw)
	p.raw = append(p.raw, make([]byte, size)...)
	p.size = append(p.size, size)
	b := p.raw[at:]
	ne := binary.NativeEndian
	ne.PutUint64(b[8:], 1) // cookie: odd for clients
	role, local, peer := event.Client, 64, 80
	if !client {
		ne.PutUint64(b[8:], 2)
		role, local, peer = event.Server, 80, 64
	}
	copy(b[local:], []byte{10: 0xff, 11: 0xff, 12: 127, 15: 1})
	copy(b[peer:], []byte{10: 0xff, 11: 0xff, 12: 127, 13: 1, 14: 2, 15: 3})
	ne.PutUint32(b[96:], 4026531840)
	ne.PutUint32(b[108:], uint32(flags))
	ne.PutUint16(b[112+local/80*2:], 40000)
	ne.PutUint16(b[112+peer/80*2:], 8080)
	b[118], b[119], b[122], b[123] = byte(kind), 4, byte(known), byte(role)
	if size > wireEvent {
		o := b[wireEvent:]
		ne.PutUint64(o[0:], 12345)
		ne.PutUint32(o[8:], 4000+uint32(role))
		ne.PutUint32(o[12:], 4000+uint32(role))
		copy(o[24:], "a-process")
		copy(o[40:], "a-process")
	}
	return b
}

// connection carries one connection through; births are a minute before deaths in life,
// but not here, where the table of connections stays small.
func (p *pipeline) connection() error {
	ne := binary.NativeEndian
	p.n++
	at := 0
	for _, size := range p.size {
		b := p.raw[at : at+size]
		at += size
		p.now += 1000
		ne.PutUint64(b[0:], uint64(p.now))
		cookie := ne.Uint64(b[8:])&3 | p.n<<2
		ne.PutUint64(b[8:], cookie)
		ne.PutUint64(b[16:], cookie<<6)
		switch event.Kind(b[118]) {
		case event.KindTransition:
			ne.PutUint64(b[32:], uint64(p.now-1000))
			ne.PutUint64(b[40:], uint64(p.now-9000))
		default:
			ne.PutUint64(b[32:], p.n+15000)
			ne.PutUint64(b[40:], p.n)
		}
		for _, end := range []int{64, 80} {
			if b[end+13] == 1 { // the server's address: another one each time
				b[end+14], b[end+15] = byte(p.n>>8), byte(p.n)
			}
		}
		if err := tracer.Decode(b, &p.sample); err != nil {
			return err
		}
		if err := p.flow.Sample(&p.sample); err != nil {
			return err
		}
	}
	if p.n%256 == 0 {
		return p.flow.Advance(p.now)
	}
	return nil
}

// warm fills tables to the size that they keep.
func (p *pipeline) warm() error {
	for range 100_000 {
		if err := p.connection(); err != nil {
			return err
		}
	}
	return nil
}

// pipelineCost is CPU ns, and allocations, per ring record.
func pipelineCost(rounds int) (ns series, allocs float64, err error) {
	p := newPipeline(io.Discard)
	if err := p.warm(); err != nil {
		return nil, 0, err
	}
	const conns = 100_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		began := processCPU()
		for range conns {
			if err := p.connection(); err != nil {
				return nil, 0, err
			}
		}
		ns.add(float64((processCPU() - began).Nanoseconds()) / (conns * perConnection))
	}
	runtime.ReadMemStats(&after)
	// The runtime allocates a little for itself.
	allocs = math.Floor(float64(after.Mallocs-before.Mallocs)/float64(rounds*conns*perConnection)*1000) / 1000
	if s := p.flow.Stats(); s.Unmatched+s.Duplicates+s.Evicted > 0 {
		return nil, 0, fmt.Errorf("the bench's ring records do not fit together: %+v", s)
	}
	return ns, allocs, nil
}
