// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Writer writes one file. Any error stays: everything after it fails the same way.
type Writer struct {
	path string
	file *os.File
	enc  encoder
	size int64 // of the file, what is still being compressed not counted
	err  error

	lines, flushed uint64 // written, and of these surely in the file
}

// Stdout is the name that means standard output.
const Stdout = "-"

// Create makes the file; see [Options]. Stdout is not compressed.
func Create(path string, force bool) (*Writer, error) {
	w := &Writer{path: path}
	var err error
	if path == Stdout {
		w.path = "standard output"
		w.file = os.Stdout
	} else if w.file, err = create(path, force); err != nil {
		return nil, err
	}
	if w.enc, err = encode(path, (*counting)(w)); err != nil {
		return nil, errors.Join(fmt.Errorf("compress %s: %w", path, err), w.file.Close())
	}
	return w, nil
}

// counting is where a Writer's encoder writes to.
type counting Writer

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.file.Write(b)
	c.size += int64(n)
	return n, err
}

// Write takes one line.
func (w *Writer) Write(line []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.enc.Write(line)
	if err != nil {
		return n, w.fail(err)
	}
	w.lines++
	return n, nil
}

// Flush puts everything into the file that has been written: from then on the end of this
// process does not take it away.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	if err := w.enc.Flush(); err != nil {
		return w.fail(err)
	}
	w.flushed = w.lines
	return nil
}

// Close ends the file.
func (w *Writer) Close() error {
	if w.file == nil {
		return nil
	}
	failed := w.err != nil
	err := w.enc.Close()
	if err != nil && !failed {
		err = w.fail(err)
	} else if err == nil {
		w.flushed = w.lines
	}
	if w.file != os.Stdout {
		if cerr := w.file.Close(); cerr != nil && err == nil && !failed {
			err = w.fail(cerr)
		}
	}
	w.file = nil
	if failed {
		return nil // it has been told
	}
	return err
}

// fail makes an error that says what is left.
func (w *Writer) fail(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	if w.file == os.Stdout {
		w.err = fmt.Errorf("write %s: %w", w.path, err)
		return w.err
	}
	w.err = fmt.Errorf("write %s: %w; kept are %s, records up to number %d at least, which replay reads up to the last whole line; "+
		"free space, or bound a recording with --rotate-size and --keep", w.path, err, Bytes(w.size), w.flushed)
	return w.err
}

// Size is how large the file is by now; what waits for a Flush is not in it.
func (w *Writer) Size() int64 { return w.size }

// Lines is how many lines have been written.
func (w *Writer) Lines() uint64 { return w.lines }

// Path names the file.
func (w *Writer) Path() string { return w.path }

// Bytes writes a number of bytes as people read it.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

var _ io.WriteCloser = (*Writer)(nil)
