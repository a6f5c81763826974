// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"finwait/output/jsonl"
	"finwait/output/report"
	"finwait/output/report/html"
	tracefile "finwait/output/trace"
)

// reportFlags are the flags as they were given.
type reportFlags struct {
	output, color, html, check string
	rows                       int
	force                      bool
}

func newReport() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report FILE...",
		Short: "Add a recorded trace up: who closed first, what it cost, and what to change",
		Long: `report reads what record, or finwait -o json, has written, and says whether the trace is
complete, who closed first, what TIME_WAIT cost, how much of the local port range is left
towards each peer, and which closes never finish. Findings follow: each with its evidence,
what it means, what to change and what not to do.

It reads .zst, .gz and plain files, whatever they are called; - is standard input. Memory
does not grow with the length of a trace.

Exit status: 0, also with findings; 10 with --check when one of that severity, or a
higher one, was made; 1 when a file could not be read to its end.`,
		Example: `  finwait report incident.jsonl.zst
  finwait report web*.jsonl.zst --html incident.html
  finwait report incident.jsonl.zst -o json | jq '.findings[].title'
  finwait report nightly.jsonl.zst --check warning || page-somebody`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("report needs a file: finwait report incident.jsonl.zst; - is standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runReport(cmd.Context(), cmd.OutOrStdout(), f, args)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVarP(&f.output, "output", "o", "text", "text or json")
	fs.StringVar(&f.html, "html", "", "write the report to this file, as one page with plots that needs nothing else")
	fs.BoolVar(&f.force, "force", false, "overwrite the file of --html")
	fs.StringVar(&f.check, "check", "", "exit with 10 if a finding is at least: info, warning or critical")
	fs.IntVar(&f.rows, "rows", 15, "rows of each table")
	fs.StringVar(&f.color, "color", "auto", "auto, always or never (auto also heeds NO_COLOR)")
	return cmd
}

func runReport(ctx context.Context, w io.Writer, f reportFlags, files []string) error {
	var check report.Severity
	if f.check != "" {
		var ok bool
		if check, ok = report.ParseSeverity(f.check); !ok {
			return usage("--check %q: use info, warning or critical", f.check)
		}
	}
	if err := errors.Join(oneOf("output", f.output, "text", "json"), oneOf("color", f.color, "auto", "always", "never")); err != nil {
		return err
	}
	if f.rows < 1 {
		return usage("--rows %d: must be at least 1", f.rows)
	}
	if f.html != "" && !f.force {
		// Now, and not after an hour of reading.
		if _, err := os.Lstat(f.html); err == nil {
			return usage("--html %s: exists; choose another name, or overwrite it with --force", f.html)
		}
	}
	r, partial := collect(ctx, files)
	if r == nil {
		return partial
	}
	if f.html != "" {
		if err := writePage(r, f.html, f.force); err != nil {
			return err
		}
	}
	var err error
	if out := bufio.NewWriter(w); f.output == "json" {
		err = errors.Join(report.JSON(out, r), out.Flush())
	} else {
		err = errors.Join(report.Text(out, r, report.TextOptions{Color: useColor(f.color, w), Rows: f.rows}), out.Flush())
	}
	if err = errors.Join(err, partial); err != nil {
		return err
	}
	if worst := r.WorstSeverity(); check != report.SeverityNone && worst >= check {
		return fmt.Errorf("%w: there are findings, the worst is %s", errFinding, worst)
	}
	return nil
}

// collect reads the files to the end, or as far as they can be read: then there is a
// report of what came before, and an error.
func collect(ctx context.Context, files []string) (*report.Report, error) {
	m, err := tracefile.NewMerge(files)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	c := report.New(report.Options{})
	var traces []*report.Trace
	for _, s := range m.Sources() {
		traces = append(traces, c.Trace(s.Paths()...))
	}
	var broken error
	for n := 1; ; n++ {
		rec, src, err := m.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			var line *jsonl.LineError
			if !errors.As(err, &line) {
				return nil, err
			}
			broken = err
			break
		}
		if n%looks == 0 && ctx.Err() != nil {
			return nil, fmt.Errorf("read traces: %w", context.Cause(ctx))
		}
		traces[src.Index].Clock(rec.Clock)
		if err := rec.Hand(traces[src.Index]); err != nil {
			return nil, err
		}
	}
	for _, s := range m.Sources() {
		for _, note := range s.Notes() {
			traces[s.Index].Note(note)
		}
	}
	return c.Report(), broken
}

// writePage writes the HTML page, whole or not at all.
func writePage(r *report.Report, path string, force bool) (err error) {
	how := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	name := path
	if force {
		name = fmt.Sprintf("%s.%d", path, time.Now().UnixNano())
	}
	f, err := os.OpenFile(name, how, 0o600) // it tells who talks to whom
	if err != nil {
		return fmt.Errorf("create page: %w", err)
	}
	b := bufio.NewWriter(f)
	if err = errors.Join(html.Write(b, r), b.Flush(), f.Close()); err == nil && force {
		err = os.Rename(name, path)
	}
	if err != nil {
		os.Remove(name)
		return fmt.Errorf("write page %s: %w", path, err)
	}
	return nil
}
