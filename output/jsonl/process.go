// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"encoding/binary"
	"strings"

	"finwait/tracer/event"
)

// processes remembers how the processes of a trace look as text, so that most of them are
// compared instead of parsed: a trace has many records and few processes. An object of
// JSON is never the beginning of another one, so a text that begins with a known object
// has just that object there.
type processes struct {
	slots []processSlot
	texts map[string]string
	room  []byte
}

type processSlot struct {
	raw []byte
	p   event.Process
}

const (
	processSlots = 4096 // a power of two
	maxTexts     = 16384
	maxRaw       = 1024 // of an object that is remembered
	hashed       = 40   // bytes of an object that decide its slot: both ids and some of the name
)

// read parses the object that is next in s into p.
func (ps *processes) read(s *scan, p *event.Process) {
	s.peek()
	if ps.slots == nil {
		ps.slots, ps.texts = make([]processSlot, processSlots), map[string]string{}
	}
	rest := s.b[s.i:]
	if len(rest) < hashed {
		ps.parse(s, p)
		return
	}
	var h uint64
	for i := 0; i < hashed; i += 8 {
		h = (h ^ binary.LittleEndian.Uint64(rest[i:])) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	slot := &ps.slots[h%processSlots]
	if len(slot.raw) > 0 && bytes.HasPrefix(rest, slot.raw) {
		*p = slot.p
		s.i += len(slot.raw)
		return
	}
	began := s.i
	ps.parse(s, p)
	if s.bad == "" && s.i-began <= maxRaw {
		slot.raw = append(slot.raw[:0], rest[:s.i-began]...)
		slot.p = *p
	}
}

func (ps *processes) parse(s *scan, p *event.Process) {
	*p = event.Process{}
	s.open('{')
	for {
		key, ok := s.more()
		if !ok {
			if !p.Known() {
				*p = event.Process{Cgroup: p.Cgroup, Container: p.Container}
			}
			return
		}
		switch string(key) {
		case "pid":
			p.PID = uint32(s.uint(1<<32 - 1))
		case "tid":
			p.TID = uint32(s.uint(1<<32 - 1))
		case "uid":
			p.UID = uint32(s.uint(1<<32 - 1))
		case "start_ns":
			p.StartNS = s.id()
		case "comm":
			p.Comm = ps.comm(s)
		case "thread":
			p.Thread = ps.comm(s)
		case "exe":
			p.Exe = ps.text(s)
		case "cgroup":
			p.Cgroup = ps.text(s)
		case "container":
			s.open('{')
			for {
				key, ok := s.more()
				if !ok {
					break
				}
				if string(key) == "id" {
					p.Container = ps.text(s)
				} else {
					s.skip(0)
				}
			}
		case "signal":
			p.Signal = uint8(s.uint(1<<8 - 1))
		default:
			s.skip(0)
		}
	}
}

func (ps *processes) comm(s *scan) event.Comm {
	c, ok := comm(s.text())
	if !ok {
		s.fail("a name of at most 16 bytes")
	}
	return c
}

// text returns a string that is kept once for all that are equal.
func (ps *processes) text(s *scan) string {
	raw, escaped := s.text()
	if escaped {
		var ok bool
		if ps.room, ok = unescape(ps.room[:0], raw); !ok {
			s.fail("a string with whole escapes")
			return ""
		}
		raw = ps.room
	}
	if t, ok := ps.texts[string(raw)]; ok {
		return t
	}
	if len(ps.texts) >= maxTexts {
		clear(ps.texts)
	}
	key := string(raw)
	t := strings.ToValidUTF8(key, "\uFFFD")
	if len(key) <= maxRaw {
		ps.texts[key] = t
	}
	return t
}
