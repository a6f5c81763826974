// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"finwait/output/trace"
	"finwait/tracer/event"
)

// recordFlags are the flags of record beside those of a live trace.
type recordFlags struct {
	liveFlags
	file       string
	force      bool
	rotateSize string
	rotation   trace.Rotation
	flushEvery time.Duration
}

func newRecord() *cobra.Command {
	f := recordFlags{liveFlags: liveFlags{output: "json", view: "transitions"}}
	cmd := &cobra.Command{
		Use:   "record -w FILE",
		Short: "Record a trace, to replay or report it later",
		Long: `record writes the facts of a trace to a file, as JSON Lines, until Ctrl-C. The name of
the file decides the compression: .zst, .gz, or none. Only its owner can read it.

What happened is written into the file once a second (--flush-every): a recording that is
killed lacks at most that, and what it has is replayed up to its last whole line.

With --rotate-size or --rotate-every the recording goes on in another file whenever one is
large or old enough: incident.0001.jsonl.zst, incident.0002.jsonl.zst, and so on. Each is
a whole trace; replay and report take all of them together, too.`,
		Example: `  sudo finwait record -w incident.jsonl.zst -d 5m
  sudo finwait record -w /var/log/finwait/trace.jsonl.zst --rotate-every 1h --keep 48
  sudo finwait record -w incident.jsonl.zst -D 8080     connections to port 8080 alone
  finwait replay incident.jsonl.zst --view closes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runRecord(cmd.Context(), cmd.ErrOrStderr(), f)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *recordFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.file, "write", "w", "", "the file; .zst and .gz are compressed; - is standard output")
	fs.BoolVar(&f.force, "force", false, "replace the file if it exists (never through a symbolic link)")
	fs.StringVar(&f.rotateSize, "rotate-size", "", "go on in another file when one is this large, such as 100MiB")
	fs.DurationVar(&f.rotation.Every, "rotate-every", 0, "go on in another file when one is this old, such as 1h")
	fs.IntVar(&f.rotation.Keep, "keep", 0, "keep this many files of the recording and remove older ones; 0 keeps all")
	fs.DurationVar(&f.flushEvery, "flush-every", time.Second, "how much a recording that is killed can lack")
	f.registerChoice(fs)
	f.registerCount(fs)
	f.registerTrace(fs)
	f.registerStrict(fs)
	f.registerColor(fs)
	f.registerRoom(fs)
	f.registerLog(fs)
}

func (f *recordFlags) checkRecord() error {
	if f.file == "" {
		return usage("record needs a file: -w incident.jsonl.zst")
	}
	if f.file != trace.Stdout && strings.HasSuffix(f.file, "/") {
		return usage("--write %q: name a file, such as %s", f.file, filepath.Join(f.file, "incident.jsonl.zst"))
	}
	size, err := parseSize("rotate-size", f.rotateSize)
	if err != nil {
		return err
	}
	f.rotation.Size = size
	switch {
	case f.rotation.Every < 0:
		return usage("--rotate-every %v: must not be negative", f.rotation.Every)
	case f.rotation.Keep < 0:
		return usage("--keep %d: must not be negative", f.rotation.Keep)
	case f.flushEvery <= 0:
		return usage("--flush-every %v: must be more than nothing", f.flushEvery)
	case f.rotation.Keep > 0 && !f.rotation.On():
		return usage("--keep %d: needs --rotate-size or --rotate-every", f.rotation.Keep)
	case f.rotation.On() && f.file == trace.Stdout:
		return usage("--rotate-size and --rotate-every need a file, not standard output")
	}
	return nil
}

// parseSize reads a number of bytes, with a unit or without.
func parseSize(flag, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	number, unit := s, int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if cut, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = cut, n
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > 1<<62/unit {
		return 0, usage("--%s %q: use a size, such as 100MiB or 1GiB", flag, s)
	}
	return n * unit, nil
}

func runRecord(ctx context.Context, stderr io.Writer, f recordFlags) error {
	if err := f.checkRecord(); err != nil {
		return err
	}
	return watch(ctx, stderr, f.liveFlags, func(start *event.Start) (outlet, error) {
		r := newRecorder(&f, start)
		if isTerminal(stderr) && os.Getenv("TERM") != "dumb" {
			r.progress = stderr
		}
		return r, nil
	})
}
