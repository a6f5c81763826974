// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"finwait/output/jsonl"
	"finwait/output/table"
	"finwait/tracer/event"
)

// sink writes records in one format.
type sink interface {
	Transition(*event.Transition) error
	ConnectError(*event.ConnectError) error
	Release(*event.Release) error
	Close(*event.CloseRecord) error
	Loss(*event.Loss) error
}

// traceSink is a sink that also writes the first and the last record of a trace.
type traceSink interface {
	Start(*event.Start) error
	End(*event.End) error
}

func newSink(w io.Writer, f *liveFlags, clock event.Clock, color bool) sink {
	if f.output == "json" {
		return jsonl.New(w, clock)
	}
	opt := table.Options{Wide: f.output == "wide", Header: !f.noHeader, Color: color}
	if f.utc {
		opt.Zone = time.UTC
	}
	if f.view == "closes" {
		return table.NewCloses(w, clock, opt)
	}
	return table.New(w, clock, opt)
}

// useColor heeds --color, NO_COLOR and whether anybody looks.
func useColor(mode string, w io.Writer) bool {
	switch mode {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// stdout buffers records and notices when nobody reads them any more, even while
// there is nothing to write.
type stdout struct {
	*bufio.Writer
	fd int // -1: not a file
}

func newStdout(w io.Writer) *stdout {
	s := &stdout{Writer: bufio.NewWriterSize(w, 64<<10), fd: -1}
	if f, ok := w.(*os.File); ok {
		s.fd = int(f.Fd())
	}
	return s
}

// flush writes what is buffered; EPIPE when the reader is gone.
func (s *stdout) flush() error {
	if s.Buffered() > 0 {
		return s.Flush()
	}
	if s.fd < 0 {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(s.fd)}}
	if n, err := unix.Poll(fds, 0); err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0 {
		return syscall.EPIPE
	}
	return nil
}
