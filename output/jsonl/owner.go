// SPDX-License-Identifier: Apache-2.0

package jsonl

import "finwait/tracer/event"

// hasProcess reports whether there is anything to say of p: where the owner is not known,
// the cgroup and the container of the socket can be.
func hasProcess(p *event.Process) bool { return p.Known() || p.Cgroup != "" }

// process writes the owner, if there is anything to say of it.
func (o *object) process(k string, p *event.Process) {
	if hasProcess(p) {
		o.key(k)
		o.b = o.texts.append(o.b, p)
	}
}

// ownerTexts keeps processes as they look as JSON: a trace has many records and few
// processes. The inverse of [processes].
type ownerTexts struct {
	slots []ownerText
	spare object
}

type ownerText struct {
	p    event.Process
	text []byte
}

const ownerSlots = 512 // a power of two

// append writes p as an object.
func (ts *ownerTexts) append(b []byte, p *event.Process) []byte {
	if ts.slots == nil {
		ts.slots = make([]ownerText, ownerSlots)
	}
	// Threads of a process differ in their number, processes of a program in both.
	slot := &ts.slots[(uint64(p.TID)*0x9e3779b97f4a7c15^p.StartNS)>>3%ownerSlots]
	if len(slot.text) == 0 || slot.p != *p {
		slot.p = *p
		ts.spare.b = slot.text[:0]
		ts.spare.owner(p)
		slot.text = ts.spare.b
	}
	return append(b, slot.text...)
}

func (o *object) owner(p *event.Process) {
	o.b = append(o.b, '{')
	if p.Known() {
		o.uint("pid", uint64(p.PID))
		o.uint("tid", uint64(p.TID))
		o.bytes("comm", p.Comm.Bytes())
		o.bytes("thread", p.Thread.Bytes())
		o.uint("uid", uint64(p.UID))
		o.id("start_ns", p.StartNS)
	}
	if p.Exe != "" {
		o.str("exe", p.Exe)
	}
	if p.Cgroup != "" {
		o.str("cgroup", p.Cgroup)
	}
	if p.Container != "" {
		o.open("container")
		o.str("id", p.Container)
		o.close()
	}
	if p.Signal != 0 {
		o.uint("signal", uint64(p.Signal))
	}
	o.close()
}
