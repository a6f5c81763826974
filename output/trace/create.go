// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// create makes a new file that only its owner can read: a trace tells who talks to whom.
// It never follows a symbolic link, and replaces a file only when forced to; then the old
// file's other names and readers keep the old one.
func create(path string, force bool) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	f, err := os.OpenFile(path, flags, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, say(path, err)
	}
	st, serr := os.Lstat(path)
	switch {
	case serr != nil:
		return nil, say(path, serr)
	case st.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("create %s: it is a symbolic link, which is never followed; name the file itself", path)
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("create %s: it is not a regular file; name a file, or - for standard output", path)
	case !force:
		return nil, fmt.Errorf("create %s: %w; use another name, or --force to replace it", path, fs.ErrExist)
	}
	if err := os.Remove(path); err != nil {
		return nil, say(path, err)
	}
	f, err = os.OpenFile(path, flags, 0o600)
	return f, say(path, err)
}

func say(path string, err error) error {
	if err == nil {
		return nil
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("create %s: %w", path, err)
}
