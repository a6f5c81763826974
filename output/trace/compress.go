// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// encoder compresses, or not.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// plain is an encoder that does not compress.
type plain struct{ *bufio.Writer }

func (p plain) Close() error { return p.Flush() }

// Extensions that decide the compression.
const (
	extZstd = ".zst"
	extGzip = ".gz"
)

// encode compresses as the file's name says. The fast levels: a trace repeats itself so
// much that the slow ones gain little.
func encode(name string, w io.Writer) (encoder, error) {
	switch filepath.Ext(name) {
	case extZstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(1<<20))
	case extGzip:
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	}
	return plain{bufio.NewWriterSize(w, 256<<10)}, nil
}

// maxWindow bounds the memory that decompression takes. finwait's own files need 1 MiB;
// zstd's highest ordinary level, 8 MiB, and its --ultra ones up to 128.
const maxWindow = 128 << 20

// decode undoes any of the compressions, which the first bytes tell.
func decode(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 128<<10)
	magic, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case len(magic) == 4 && (string(magic) == "\x28\xb5\x2f\xfd" || magic[0]&0xf0 == 0x50 && string(magic[1:]) == "\x2a\x4d\x18"):
		d, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", err)
		}
		return d, d.Close, nil
	case len(magic) >= 2 && string(magic[:2]) == "\x1f\x8b":
		d, err := gzip.NewReader(b)
		if err == io.EOF || err == io.ErrUnexpectedEOF { // cut within the header
			return eof{}, func() {}, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("decompress: %w", err)
		}
		return d, func() { d.Close() }, nil
	}
	return b, func() {}, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
