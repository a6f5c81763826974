// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io"
	"os"

	"finwait/output/jsonl"
)

// Stdin is the name that means standard input.
const Stdin = "-"

// File reads one file. Next is that of a [jsonl.Reader], with errors that name the file
// and say what to do.
type File struct {
	*jsonl.Reader
	path  string
	close func()
}

// Open opens a file, or standard input.
func Open(path string) (*File, error) {
	var r io.Reader = os.Stdin
	closeFile := func() {}
	if path != Stdin {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open trace: %w", err)
		}
		if st, err := f.Stat(); err == nil && st.IsDir() {
			f.Close()
			return nil, fmt.Errorf("open trace: %s is a directory; name its files", path)
		}
		r, closeFile = f, func() { f.Close() }
	}
	f, err := NewFile(r, path)
	if err != nil {
		closeFile()
		return nil, err
	}
	inner := f.close
	f.close = func() { inner(); closeFile() }
	return f, nil
}

// NewFile reads what is called path from r.
func NewFile(r io.Reader, path string) (*File, error) {
	if path == Stdin {
		path = "standard input"
	}
	d, done, err := decode(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &File{Reader: jsonl.NewReader(d), path: path, close: done}, nil
}

// Path names the file.
func (f *File) Path() string { return f.path }

// Close releases everything.
func (f *File) Close() { f.close() }

// Next returns the next record, valid until the next call; io.EOF at the end.
func (f *File) Next() (*jsonl.Record, error) {
	rec, err := f.Reader.Next()
	if err == nil || err == io.EOF {
		return rec, err
	}
	hint := "what came before is good"
	switch {
	case errors.Is(err, jsonl.ErrVersion):
		hint = "use the finwait that wrote it, or a newer one"
	case errors.Is(err, jsonl.ErrRecord), errors.Is(err, jsonl.ErrLong):
		if f.Lines() == 1 {
			hint = "is it a trace, as finwait record or -o json write it?"
		} else {
			hint += fmt.Sprintf("; to go on behind it, leave this line out (zcat or zstdcat, sed %dd)", f.Lines())
		}
	}
	return nil, fmt.Errorf("read %s: %w; %s", f.path, err, hint)
}
