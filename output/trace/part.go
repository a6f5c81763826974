// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Rotation says when a recording goes on in another file. The zero value: never.
type Rotation struct {
	Size  int64         // bytes of a part; 0: any
	Every time.Duration // time of a part; 0: any
	Keep  int           // parts that stay, the current one included; 0: all
}

// On reports whether there are parts.
func (r Rotation) On() bool { return r.Size > 0 || r.Every > 0 }

// Parts names the parts of a recording, and removes those that are too many.
type Parts struct {
	path  string
	opt   Rotation
	force bool
	n     int
	kept  []string // oldest first
	w     *Writer
}

// NewParts returns the parts of a recording that is called path.
func NewParts(path string, opt Rotation, force bool) *Parts {
	return &Parts{path: path, opt: opt, force: force}
}

// Number is the current part's, from 1 on; 0 if there are no parts.
func (p *Parts) Number() int {
	if !p.opt.On() {
		return 0
	}
	return p.n
}

// Due reports whether the current part is as large, or as old, as a part gets.
func (p *Parts) Due(age time.Duration) bool {
	return p.w != nil && (p.opt.Size > 0 && p.w.Size() >= p.opt.Size || p.opt.Every > 0 && age >= p.opt.Every)
}

// Next begins the next part; the one before must be closed. Parts that are too many are
// removed: only those that this recording has made.
func (p *Parts) Next() (*Writer, error) {
	p.n++
	path := p.path
	if p.opt.On() {
		path = PartName(p.path, p.n)
	}
	var err error
	if p.w, err = Create(path, p.force); err != nil {
		return nil, err
	}
	p.kept = append(p.kept, path)
	for p.opt.Keep > 0 && len(p.kept) > p.opt.Keep {
		if err := os.Remove(p.kept[0]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("remove the oldest part: %w", err)
		}
		p.kept = p.kept[1:]
	}
	return p.w, nil
}

// Writable returns an error when the calling thread may not make the next part.
func (p *Parts) Writable() error {
	if !p.opt.On() {
		return nil
	}
	return unix.Faccessat(unix.AT_FDCWD, filepath.Dir(p.path), unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// PartName is path with a part's number in front of its extensions: incident.jsonl.zst
// becomes incident.0001.jsonl.zst.
func PartName(path string, n int) string {
	dir, base := filepath.Split(path)
	ext := ""
	for _, e := range []string{extZstd, extGzip, ".jsonl", ".json"} {
		if rest, ok := strings.CutSuffix(base, e); ok && rest != "" {
			base, ext = rest, e+ext
		}
	}
	return fmt.Sprintf("%s%s.%04d%s", dir, base, n, ext)
}
