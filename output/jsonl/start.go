// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"finwait/tracer/event"
)

// longStart is where trace_start stops listing namespaces, and trace_end counters: a
// reader takes lines of up to MaxLine bytes.
const longStart = MaxLine * 3 / 4

// Start writes a trace_start record.
func (w *Writer) Start(s *event.Start) error {
	o := w.begin("trace_start", s.KTime)
	o.str("version", s.Version)
	o.key("command_line")
	o.b = append(o.b, '[')
	for i, arg := range s.CommandLine {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendString(o.b, arg)
	}
	o.b = append(o.b, ']')
	o.str("host", s.Host)
	o.str("kernel", s.Kernel)
	o.str("arch", s.Arch)
	o.str("boot_id", s.BootID)
	if s.Tick > 0 {
		o.int("hz", int64(time.Second/s.Tick))
	}
	o.int("clock_offset_ns", s.Clock.Offset)
	o.str("time_wait_probe", s.Probe)
	if s.ProbeReason != "" {
		o.str("time_wait_probe_reason", s.ProbeReason)
	}
	if s.Part.Number != 0 {
		o.open("part")
		o.int("number", int64(s.Part.Number))
		o.int("recording_ktime_ns", s.Part.Began)
		o.close()
	}
	o.key("hooks")
	o.b = append(o.b, '[')
	for i, h := range s.Hooks {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = append(o.b, '{')
		o.str("name", h.Name)
		if h.Attached != "" {
			o.str("attached", h.Attached)
		} else {
			o.str("lost", h.Lost)
			o.str("error", h.Error)
		}
		o.close()
	}
	o.b = append(o.b, ']')
	o.key("namespaces")
	o.b = append(o.b, '[')
	omitted := 0
	for i, ns := range s.Namespaces {
		if len(o.b) > longStart {
			omitted = len(s.Namespaces) - i
			break
		}
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = append(o.b, '{')
		o.uint("inode", uint64(ns.Inode))
		names := make([]string, 0, len(ns.Settings))
		for name := range ns.Settings {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			o.str(name, ns.Settings[name])
		}
		o.close()
	}
	o.b = append(o.b, ']')
	if omitted > 0 {
		o.int("namespaces_omitted", int64(omitted))
	}
	o.open("existing")
	o.int("sockets", int64(s.Sockets))
	o.int("time_waits", int64(s.TimeWaits))
	o.close()
	return w.end()
}

// startFields is trace_start as the Reader takes it.
type startFields struct {
	Version     string            `json:"version"`
	CommandLine []string          `json:"command_line"`
	Host        string            `json:"host"`
	Kernel      string            `json:"kernel"`
	Arch        string            `json:"arch"`
	BootID      string            `json:"boot_id"`
	HZ          int64             `json:"hz"`
	Offset      int64             `json:"clock_offset_ns"`
	Probe       string            `json:"time_wait_probe"`
	ProbeReason string            `json:"time_wait_probe_reason"`
	Part        partFields        `json:"part"`
	Hooks       []hookFields      `json:"hooks"`
	Namespaces  []namespaceFields `json:"namespaces"`
	Existing    struct {
		Sockets   int `json:"sockets"`
		TimeWaits int `json:"time_waits"`
	} `json:"existing"`
}

type partFields struct {
	Number int   `json:"number"`
	Began  int64 `json:"recording_ktime_ns"`
}

type hookFields struct {
	Name     string `json:"name"`
	Attached string `json:"attached"`
	Lost     string `json:"lost"`
	Error    string `json:"error"`
}

// namespaceFields has the settings beside the inode number.
type namespaceFields struct {
	event.Namespace
}

func (n *namespaceFields) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	if err := json.Unmarshal(fields["inode"], &n.Inode); err != nil {
		return fmt.Errorf("read inode: %w", err)
	}
	delete(fields, "inode")
	for name, raw := range fields {
		var value string
		if json.Unmarshal(raw, &value) != nil || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			continue // of a later version
		}
		if n.Settings == nil {
			n.Settings = map[string]string{}
		}
		n.Settings[name] = value
	}
	return nil
}

func readStart(line []byte, ktime int64) (*event.Start, error) {
	var f startFields
	if err := json.Unmarshal(line, &f); err != nil {
		return nil, err
	}
	s := &event.Start{
		KTime: ktime, Clock: event.Clock{Offset: f.Offset}, Version: f.Version, CommandLine: f.CommandLine,
		Host: f.Host, Kernel: f.Kernel, Arch: f.Arch, BootID: f.BootID, Probe: f.Probe, ProbeReason: f.ProbeReason,
		Sockets: f.Existing.Sockets, TimeWaits: f.Existing.TimeWaits, Part: event.Part(f.Part),
	}
	if s.CommandLine == nil {
		s.CommandLine = []string{}
	}
	if s.Part.Number <= 0 {
		s.Part = event.Part{}
	}
	if f.HZ > 0 && f.HZ <= 10_000 {
		s.Tick = time.Second / time.Duration(f.HZ)
	}
	for _, h := range f.Hooks {
		if h.Attached != "" {
			h.Lost, h.Error = "", ""
		}
		s.Hooks = append(s.Hooks, event.Hook(h))
	}
	for _, n := range f.Namespaces {
		s.Namespaces = append(s.Namespaces, n.Namespace)
	}
	return s, nil
}
