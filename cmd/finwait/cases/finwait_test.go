// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"finwait/output/report"
)

// recording is `finwait record` at work.
type recording struct {
	*host
	name  string // of the trace
	line  string // the command, as a user types it
	file  string
	cmd   *exec.Cmd
	said  bytes.Buffer
	ended chan error
}

// record starts `finwait record` of the host, or of what a filter says, and waits until everything is attached.
func (h *host) record(name string, filter ...string) *recording {
	h.t.Helper()
	r := &recording{host: h, name: name, file: name + ".jsonl.zst", ended: make(chan error, 1)}
	if len(filter) == 0 {
		filter = []string{"--netns /run/netns/" + h.netns()}
	}
	r.line = "finwait record -w " + r.file + " " + strings.Join(filter, " ")
	ready := filepath.Join(h.dir, name+".ready")
	r.cmd = h.command(append(strings.Fields(r.line), "--ready-file", ready)...)
	r.cmd.Stderr = &r.said
	if err := r.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		r.ended <- r.cmd.Wait()
	}()
	h.t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it has ended, unless the test has failed
		<-over
	})
	await(h.t, "finwait record", func() bool {
		select {
		case <-over:
			h.t.Fatalf("%s: %s", r.line, r.said.String())
		default:
		}
		_, err := os.Stat(ready)
		return err == nil
	})
	return r
}

// stop is Ctrl-C.
func (r *recording) stop() *trace {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	if err := <-r.ended; err != nil {
		r.t.Fatalf("%s: %v: %s", r.line, err, r.said.String())
	}
	r.t.Logf("%s\n%s", r.line, r.said.String())
	return r.load()
}

// recorded is the command without output: what it shows is progress.
func (t *trace) recorded() shown { return shown{host: t.host, line: t.line} }

// report runs `finwait report` on a trace, for readers.
func (t *trace) report() shown {
	t.host.t.Helper()
	return t.host.sh("finwait report " + t.file)
}

// added is the same report as data, for assertions.
func (t *trace) added() *report.Report {
	t.host.t.Helper()
	var r report.Report
	if err := json.Unmarshal([]byte(t.host.sh("finwait report -o json "+t.file).out), &r); err != nil {
		t.host.t.Fatal(err)
	}
	return &r
}

// finding returns the findings with this id.
func finding(r *report.Report, id string) (list []report.Finding) {
	for _, f := range r.Findings {
		if f.ID == id {
			list = append(list, f)
		}
	}
	return list
}
