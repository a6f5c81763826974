// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"encoding/json"
	"fmt"
	"time"

	"finwait/tracer/event"
)

// Loss writes a loss record.
func (w *Writer) Loss(l *event.Loss) error {
	o := w.begin("loss", l.KTime)
	o.str("reason", l.Reason.String())
	o.uint("count", l.Count)
	if l.Since != 0 {
		o.time("since", w.clock.Wall(l.Since))
	}
	return w.end()
}

// End writes a trace_end record.
func (w *Writer) End(e *event.End) error {
	o := w.begin("trace_end", e.KTime)
	o.nanos("elapsed_ns", e.Elapsed)
	o.open("totals")
	o.uint("transitions", e.Transitions)
	o.uint("closes", e.Closes)
	o.uint("connect_errors", e.Errors)
	o.uint("time_waits_born", e.Born)
	o.int("time_waits_open", int64(e.Open))
	o.uint("picked_up", e.PickedUp)
	o.close()
	o.open("lost")
	for _, r := range event.LossReasons {
		o.uint(r.String(), e.Lost[r])
	}
	o.close()
	o.bool("complete", e.Complete())
	o.kernel(e.Kernel)
	return w.end()
}

// kernel writes the namespaces in which anything was counted.
func (o *object) kernel(list []event.KernelCounters) {
	if list == nil {
		return
	}
	o.key("kernel_counters")
	o.b = append(o.b, '[')
	for i := range list {
		k := &list[i]
		if !k.Any() || len(o.b) > longStart {
			continue
		}
		if o.b[len(o.b)-1] != '[' {
			o.b = append(o.b, ',')
		}
		o.b = append(o.b, '{')
		o.open("netns")
		o.uint("inode", uint64(k.NetNS))
		o.close()
		if k.Filtered {
			o.bool("filtered", true)
		}
		o.open("counters")
		for c, n := range k.Counters {
			if n.Kernel == event.Unknown {
				continue
			}
			o.open(event.Counter(c).String())
			o.int("kernel", n.Kernel)
			o.known("ours", n.Ours)
			if n.Unsure != 0 {
				o.int("unsure", n.Unsure)
			}
			o.close()
		}
		o.close()
		o.close()
	}
	o.b = append(o.b, ']')
}

// lossFields is loss, and endFields trace_end, as the Reader takes them.
type lossFields struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
	Since  string `json:"since"`
}

type endFields struct {
	Elapsed time.Duration `json:"elapsed_ns"`
	Totals  struct {
		Transitions uint64 `json:"transitions"`
		Closes      uint64 `json:"closes"`
		Errors      uint64 `json:"connect_errors"`
		Born        uint64 `json:"time_waits_born"`
		Open        int    `json:"time_waits_open"`
		PickedUp    uint64 `json:"picked_up"`
	} `json:"totals"`
	Lost   map[string]uint64 `json:"lost"`
	Kernel []kernelFields    `json:"kernel_counters"`
}

type kernelFields struct {
	NetNS struct {
		Inode uint32 `json:"inode"`
	} `json:"netns"`
	Filtered bool `json:"filtered"`
	Counters map[string]struct {
		Kernel *int64 `json:"kernel"`
		Ours   *int64 `json:"ours"`
		Unsure int64  `json:"unsure"`
	} `json:"counters"`
}

func (p *parser) loss(line []byte) error {
	var f lossFields
	if err := json.Unmarshal(line, &f); err != nil {
		return err
	}
	reason, ok := event.ParseLossReason(f.Reason)
	if !ok {
		return fmt.Errorf("read loss: no reason %q", f.Reason)
	}
	p.rec.Loss = event.Loss{KTime: p.rec.KTime, Reason: reason, Count: f.Count}
	if f.Since == "" {
		return nil
	}
	wall, ok := p.times.parse([]byte(f.Since))
	since := wall - p.rec.Clock.Offset
	if !ok || since < 0 || since > maxKTime {
		return fmt.Errorf("read loss: since %q", f.Since)
	}
	p.rec.Loss.Since = since
	return nil
}

func readEnd(line []byte, ktime int64) (*event.End, error) {
	var f endFields
	if err := json.Unmarshal(line, &f); err != nil {
		return nil, err
	}
	e := &event.End{
		KTime: ktime, Elapsed: f.Elapsed, Transitions: f.Totals.Transitions, Closes: f.Totals.Closes, Errors: f.Totals.Errors,
		Born: f.Totals.Born, Open: f.Totals.Open, PickedUp: f.Totals.PickedUp, Lost: map[event.LossReason]uint64{},
	}
	for name, n := range f.Lost {
		if r, ok := event.ParseLossReason(name); ok && n > 0 {
			e.Lost[r] = n
		}
	}
	if f.Kernel != nil {
		e.Kernel = []event.KernelCounters{}
	}
	for _, k := range f.Kernel {
		one := event.NewKernelCounters(k.NetNS.Inode)
		one.Filtered = k.Filtered
		for name, n := range k.Counters {
			c, ok := event.ParseCounter(name)
			if !ok || n.Kernel == nil {
				continue
			}
			one.Counters[c].Kernel, one.Counters[c].Unsure = *n.Kernel, n.Unsure
			if n.Ours != nil {
				one.Counters[c].Ours = *n.Ours
			}
		}
		if one.Any() {
			e.Kernel = append(e.Kernel, one)
		}
	}
	return e, nil
}
