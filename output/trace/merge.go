// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"container/heap"
	"errors"
	"io"
	"sort"

	"finwait/output/jsonl"
)

// Merge reads several files as one: the parts of a recording follow each other, and
// recordings are put into the order of time, by the wall clock of their hosts. Within a
// recording the order stays as it was written.
type Merge struct {
	sources []*Source
	queue   queue
	current *Source // whose head was handed out
	errs    []error
}

// NewMerge opens the files. Stdin may be one of them.
func NewMerge(paths []string) (*Merge, error) {
	m := &Merge{}
	groups := map[string]*Source{}
	var inputs []input
	for _, path := range paths {
		in, err := inspect(path)
		if err != nil {
			for _, in := range inputs {
				if in.file != nil {
					in.file.Close()
				}
			}
			return nil, err
		}
		inputs = append(inputs, in)
	}
	for _, in := range inputs {
		s := groups[in.group]
		if s == nil || in.number == 0 {
			s = &Source{Index: len(m.sources)}
			m.sources = append(m.sources, s)
			groups[in.group] = s
		}
		s.parts = append(s.parts, in)
	}
	for _, s := range m.sources {
		s.order()
		m.push(s)
	}
	return m, nil
}

// order sorts the parts and notes which are missing. A part that is there twice counts once.
func (s *Source) order() {
	sort.SliceStable(s.parts, func(i, j int) bool { return s.parts[i].number < s.parts[j].number })
	kept := s.parts[:0]
	for _, in := range s.parts {
		if len(kept) > 0 && in.number == kept[len(kept)-1].number {
			continue
		}
		kept = append(kept, in)
	}
	s.parts = kept
	if len(s.parts) < 2 {
		return
	}
	want := 1
	for _, in := range s.parts {
		if want < in.number {
			s.missing = append(s.missing, [2]int{want, in.number - 1})
		}
		want = in.number + 1
	}
}

func (m *Merge) push(s *Source) {
	if err := s.advance(); err != nil {
		m.errs = append(m.errs, err)
		return
	}
	if s.rec != nil {
		heap.Push(&m.queue, s)
	}
}

// Next returns the next record, valid until the next call, and where it is from. At the
// end it returns io.EOF, or what was wrong with the files: each is read as far as it can be.
func (m *Merge) Next() (*jsonl.Record, *Source, error) {
	if s := m.current; s != nil {
		if err := s.advance(); err != nil {
			m.errs = append(m.errs, err)
		}
		if s.rec == nil {
			heap.Pop(&m.queue)
		} else if len(m.queue) > 1 {
			heap.Fix(&m.queue, 0)
		}
		m.current = nil
	}
	if len(m.queue) == 0 {
		if err := errors.Join(m.errs...); err != nil {
			return nil, nil, err
		}
		return nil, nil, io.EOF
	}
	m.current = m.queue[0]
	return m.current.rec, m.current, nil
}

// Sources are the recordings.
func (m *Merge) Sources() []*Source { return m.sources }

// Close releases everything.
func (m *Merge) Close() {
	for _, s := range m.sources {
		s.close()
	}
}

// queue is a heap of sources by the time of their heads.
type queue []*Source

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].wall < q[j].wall || q[i].wall == q[j].wall && q[i].Index < q[j].Index
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(s any)   { *q = append(*q, s.(*Source)) }
func (q *queue) Pop() any {
	old := *q
	s := old[len(old)-1]
	*q = old[:len(old)-1]
	return s
}
