// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"io"
	"os"

	"finwait/output/jsonl"
	"finwait/tracer/event"
)

// Source is one recording: a file, or its parts one after the other as if they were one.
type Source struct {
	// Index tells the sources of a Merge apart, from 0 on.
	Index int

	parts []input // in order; the first is the one that is open
	next  int     // of the parts: what comes after the open one
	file  *File
	rec   *jsonl.Record // the head; nil at the end
	first *jsonl.Record // read to know which recording this is, and not yet handed out
	wall  int64         // time of the head; it never goes back
	total event.End     // of the parts so far

	cut     []string // files that stop before their trace_end
	missing [][2]int // numbers of parts that are not there, first and last
	other   uint64   // records of types not known here
}

// input is one file of a recording.
type input struct {
	path   string
	number int    // of the part; 0: it is all of the recording
	group  string // names the recording that the part belongs to
	file   *File  // already open, because it cannot be opened again
	first  *jsonl.Record
}

// inspect reads a file's first record, to know which recording it is a part of.
func inspect(path string) (in input, err error) {
	in.path = path
	f, err := Open(path)
	if err != nil {
		return in, err
	}
	rec, err := f.Next()
	if err == nil && rec.Type == jsonl.TypeStart && rec.Start.Part.Number > 0 {
		s := rec.Start
		in.number = s.Part.Number
		in.group = fmt.Sprintf("%s %s %d", s.Host, s.BootID, s.Part.Began)
	}
	if st, serr := os.Stat(path); path != Stdin && serr == nil && st.Mode().IsRegular() {
		f.Close() // it is opened again when its turn comes: there may be thousands
		return in, nil
	}
	in.file = f
	if err == nil {
		in.first = rec
	}
	return in, nil
}

// advance makes the next record the head; the head is nil at the end.
func (s *Source) advance() error {
	for {
		rec, err := s.read()
		if err == io.EOF {
			s.rec = nil
			return nil
		}
		if err != nil {
			s.rec = nil
			return err
		}
		if len(s.parts) > 1 {
			switch rec.Type {
			case jsonl.TypeStart:
				if s.next > 1 {
					continue
				}
				rec.Start.Part = event.Part{}
			case jsonl.TypeEnd:
				s.total.Add(rec.End)
				if s.next < len(s.parts) || len(s.cut) > 0 {
					continue
				}
				rec.End = &s.total
			}
		}
		s.rec = rec
		s.wall = max(s.wall, rec.Wall())
		return nil
	}
}

// read returns the next record of the part that is open, or of the next part.
func (s *Source) read() (*jsonl.Record, error) {
	for {
		if s.file == nil {
			if s.next == len(s.parts) {
				return nil, io.EOF
			}
			in := &s.parts[s.next]
			s.next++
			s.file, s.first = in.file, in.first
			if s.file == nil {
				var err error
				if s.file, err = Open(in.path); err != nil {
					return nil, err
				}
			}
		}
		if rec := s.first; rec != nil {
			s.first = nil
			return rec, nil
		}
		rec, err := s.file.Next()
		if err == nil {
			return rec, nil
		}
		s.other += s.file.Other()
		if err == io.EOF && s.file.Cut() {
			s.cut = append(s.cut, s.file.Path())
		}
		s.file.Close()
		s.file = nil
		if err != io.EOF {
			s.next = len(s.parts)
			return nil, err
		}
	}
}

// Notes says what a reader should know about the recording, once it has been read.
func (s *Source) Notes() []string {
	var notes []string
	for _, path := range s.cut {
		notes = append(notes, fmt.Sprintf("%s is cut: it ends without trace_end; what it says up to its last whole line is here", path))
	}
	for _, gap := range s.missing {
		notes = append(notes, fmt.Sprintf("%s: parts %d to %d of this recording are not here", s.parts[0].path, gap[0], gap[1]))
	}
	if s.other > 0 {
		notes = append(notes, fmt.Sprintf("%s: skipped %d records of types that this finwait does not know", s.parts[0].path, s.other))
	}
	return notes
}

func (s *Source) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
	for i := range s.parts[s.next:] {
		if f := s.parts[s.next+i].file; f != nil {
			f.Close()
		}
	}
	s.next = len(s.parts)
}
