// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxLine is the longest line that a Reader takes, in bytes.
const MaxLine = 1 << 20

// Errors that a Reader's [LineError] wraps.
var (
	ErrRecord  = errors.New("not a record")
	ErrVersion = errors.New("schema version")
	ErrLong    = errors.New("longer than 1 MiB")
)

// LineError is an error at a line; what came before the line has been read.
type LineError struct {
	Line   uint64 // from 1 on
	Offset int64  // where it begins, in bytes
	Err    error
}

func (e *LineError) Error() string {
	return fmt.Sprintf("line %d (byte %d): %v", e.Line, e.Offset, e.Err)
}

func (e *LineError) Unwrap() error { return e.Err }

// Reader reads records from JSON Lines. Its memory does not grow with what it reads.
type Reader struct {
	r          io.Reader
	buf        []byte
	begin, end int // of what is in buf
	looked     int // bytes from begin on that hold no end of a line
	err        error

	parser parser
	line   uint64
	offset int64 // where the line begins
	at     int64 // where the next one does
	last   Type
	torn   bool
	other  uint64
}

const (
	firstBuffer = 256 << 10
	maxEmpty    = 100 // reads without a byte before a source is given up
)

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: r, buf: make([]byte, firstBuffer)}
}

// Next returns the next record; it is valid until the next call. At the end it returns
// io.EOF, whether the trace is whole or not; see Cut. Any other error is a *LineError,
// and the end of what can be read.
func (r *Reader) Next() (*Record, error) {
	for {
		line, err := r.next()
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			continue
		}
		if err := r.parser.parse(line); err != nil {
			if r.torn && !errors.Is(err, ErrVersion) {
				return nil, r.stop(io.EOF)
			}
			return nil, r.fail(err)
		}
		rec := &r.parser.rec
		r.torn = r.torn && rec.Type == TypeOther
		switch rec.Type {
		case TypeClose:
			continue
		case TypeOther:
			r.other++
			continue
		}
		r.last = rec.Type
		return rec, nil
	}
}

// Lines is how many lines have been read.
func (r *Reader) Lines() uint64 { return r.line }

// Other is how many records were skipped because their type is not known here.
func (r *Reader) Other() uint64 { return r.other }

// Cut reports, at the end, whether the trace stops before its trace_end.
func (r *Reader) Cut() bool { return r.torn || r.last != TypeEnd }

func (r *Reader) stop(err error) error {
	r.err = err
	r.begin = r.end
	return err
}

func (r *Reader) fail(err error) error {
	return r.stop(&LineError{Line: r.line, Offset: r.offset, Err: err})
}

// next returns the next line without its end. The last one may have none: it is torn,
// unless it happens to be a whole record.
func (r *Reader) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.begin+r.looked:r.end], '\n'); i >= 0 {
			n := r.looked + i
			if n > MaxLine {
				return nil, r.tooLong()
			}
			return r.take(n, n+1), nil
		}
		r.looked = r.end - r.begin
		switch {
		case r.looked > MaxLine:
			return nil, r.tooLong()
		case r.err == nil:
			r.fill()
		case r.looked > 0:
			r.torn = true
			return r.take(r.looked, r.looked), nil
		case errors.Is(r.err, io.EOF), errors.Is(r.err, io.ErrUnexpectedEOF):
			return nil, r.stop(io.EOF)
		default:
			if _, told := r.err.(*LineError); told {
				return nil, r.err
			}
			r.take(0, 0)
			return nil, r.fail(r.err)
		}
	}
}

// take steps over whole bytes, and returns the line that begins them.
func (r *Reader) take(line, whole int) []byte {
	b := r.buf[r.begin : r.begin+line]
	r.begin += whole
	r.looked = 0
	r.line++
	r.offset = r.at
	r.at += int64(whole)
	return b
}

func (r *Reader) tooLong() error {
	r.take(0, 0)
	return r.fail(ErrLong)
}

// fill reads more. A line that does not fit gets a larger buffer, up to what a line may be.
func (r *Reader) fill() {
	if r.begin > 0 {
		r.end = copy(r.buf, r.buf[r.begin:r.end])
		r.begin = 0
	}
	if r.end == len(r.buf) {
		grown := make([]byte, min(2*len(r.buf), MaxLine+firstBuffer))
		copy(grown, r.buf)
		r.buf = grown
	}
	for range maxEmpty {
		n, err := r.r.Read(r.buf[r.end:])
		r.end += n
		if r.err = err; n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}
