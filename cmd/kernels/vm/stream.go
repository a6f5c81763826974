// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"io"
	"sync"

	"finwait/cmd/kernels/guest"
)

// stream takes the guest's second serial port apart: it passes on, line by line, what
// is between the two marks, and keeps the marks.
type stream struct {
	mu      sync.Mutex
	out     io.Writer
	line    []byte // the last line, as long as it has no end
	blank   bool   // an empty line that may belong to the mark after it
	started bool
	exit    *guest.Exit
	err     error // out's first
}

// Write never fails: the guest must not stop because the host cannot print.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = append(s.line, p...)
	for {
		end := bytes.IndexByte(s.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		s.take(s.line[:end+1])
		s.line = s.line[end+1:]
	}
}

func (s *stream) take(line []byte) {
	switch {
	case s.exit != nil:
	case !s.started:
		s.started = string(bytes.TrimRight(line, "\r\n")) == guest.StartMark
	default:
		if e, ok := guest.ParseExit(string(line)); ok {
			s.exit, s.blank = &e, false
			return
		}
		s.pass(nil)
		if len(line) == 1 {
			s.blank = true
			return
		}
		s.pass(line)
	}
}

// pass writes the blank line that waits, if there is one, and then b.
func (s *stream) pass(b []byte) {
	if s.blank {
		s.blank = false
		b = append([]byte("\n"), b...)
	}
	if len(b) == 0 {
		return
	}
	if _, err := s.out.Write(b); err != nil && s.err == nil {
		s.err = err
	}
}

// flush passes on what a guest that died left unfinished.
func (s *stream) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started && s.exit == nil {
		s.pass(s.line)
	}
}

func (s *stream) hasStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}
