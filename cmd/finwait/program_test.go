// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"finwait/tracer/workload"
)

// program is finwait as a process of its own.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	ready string
	out   output
	err   output
	ended chan struct{}
	code  int
	life  time.Duration // after which it is killed; 0: programTime
}

// output is what a process has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// programTime bounds a run of the program; it is a safety net, not an expectation.
const programTime = 3 * time.Minute

// newProgram prepares a run; change cmd before it starts.
func newProgram(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{t: t, ended: make(chan struct{}), code: -1}
	p.cmd = exec.Command("/proc/self/exe", args...)
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "NO_COLOR=")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	return p
}

// live adds what lets start wait until everything is attached.
func (p *program) live() *program {
	p.t.Helper()
	dir, err := os.MkdirTemp("", "finwait-ready-")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil { // whoever the program runs as
		p.t.Fatal(err)
	}
	p.ready = filepath.Join(dir, "ready")
	p.cmd.Args = append(p.cmd.Args, "--ready-file", p.ready)
	return p
}

// start starts the program, and waits until it is ready or has ended.
func (p *program) start() *program {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	if p.life == 0 {
		p.life = programTime
	}
	limit := time.AfterFunc(p.life, func() { p.cmd.Process.Kill() })
	go func() {
		defer close(p.ended)
		var exit *exec.ExitError
		switch err := p.cmd.Wait(); {
		case err == nil:
			p.code = 0
		case errors.As(err, &exit):
			p.code = exit.ExitCode()
		}
		limit.Stop()
	}()
	p.t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			p.cmd.Process.Kill()
			<-p.ended
		}
	})
	if p.ready != "" {
		p.await("ready", func() bool {
			_, err := os.Stat(p.ready)
			return err == nil
		})
	}
	return p
}

// await looks again and again until something holds, or the program has ended.
func (p *program) await(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-p.ended:
			if !holds() {
				p.t.Fatalf("finwait %v ended with %d before it was %s: %s", p.cmd.Args[1:], p.code, what, p.err.String())
			}
			return
		case <-tick.C:
		}
	}
}

func (p *program) signal(s os.Signal) *program {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	return p
}

// exits waits for the end, which must have this status.
func (p *program) exits(code int) *program {
	p.t.Helper()
	<-p.ended
	if p.code != code {
		p.t.Errorf("finwait %v ended with %d, want %d; it said:\n%s", p.cmd.Args[1:], p.code, code, p.err.String())
	}
	return p
}

// says fails unless stderr has all of these.
func (p *program) says(texts ...string) *program {
	p.t.Helper()
	for _, text := range texts {
		if !strings.Contains(p.err.String(), text) {
			p.t.Errorf("finwait %v does not say %q:\n%s", p.cmd.Args[1:], text, p.err.String())
		}
	}
	return p
}

// line is one line of JSON, as far as the tests look at it.
type line struct {
	Type          string
	SchemaVersion int `json:"schema_version"`
	Timestamp     time.Time
	KTime         int64 `json:"ktime_ns"`
	Socket        struct{ Cookie string }
	NetNS         struct{ Inode uint32 }
	NetworkType   string `json:"network_type"`
	Local, Peer   struct {
		Address netip.Addr
		Port    uint16
	}
	OldState       string `json:"old_state"`
	NewState       string `json:"new_state"`
	Process        *processRecord
	PeerProcess    *processRecord `json:"peer_process"`
	Attribution    string
	Closer, Method string
	Call           string
	TimeWait       *struct {
		EndReason string `json:"end_reason"`
	} `json:"time_wait"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Reason   string
	Count    uint64
	Totals   map[string]uint64
	Lost     map[string]uint64
	Complete bool
}

type processRecord struct {
	PID  int
	Comm string
}

// records reads JSON Lines; each line must be an object of its own.
func (p *program) records() []line {
	p.t.Helper()
	text := p.out.String()
	if text != "" && !strings.HasSuffix(text, "\n") {
		p.t.Errorf("the last line is cut: %q", text[strings.LastIndexByte(text, '\n')+1:])
	}
	var list []line
	for one := range strings.Lines(text) {
		r, err := parseRecord(one)
		if err != nil {
			p.t.Fatalf("%v: %s", err, one)
		}
		list = append(list, r)
	}
	return list
}

func parseRecord(text string) (r line, err error) {
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(&r); err != nil {
		return r, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return r, fmt.Errorf("more than one value on a line")
	}
	if r.Type == "" || r.SchemaVersion != 1 || r.Timestamp.IsZero() || r.KTime == 0 {
		return r, errors.New("a field that every record has is missing")
	}
	return r, nil
}

// whole returns the records between trace_start and trace_end, and trace_end.
func (p *program) whole() ([]line, line) {
	p.t.Helper()
	all := p.records()
	if len(all) < 2 || all[0].Type != "trace_start" || all[len(all)-1].Type != "trace_end" {
		p.t.Fatalf("the trace does not go from trace_start to trace_end:\n%s", p.out.String())
	}
	for _, r := range all[1 : len(all)-1] {
		if r.Type == "trace_start" || r.Type == "trace_end" {
			p.t.Errorf("%s in the middle", r.Type)
		}
	}
	return all[1 : len(all)-1], all[len(all)-1]
}

// of returns the records of one type.
func of(kind string, all []line) []line {
	var list []line
	for _, r := range all {
		if r.Type == kind {
			list = append(list, r)
		}
	}
	return list
}

func (r *line) addresses() ends {
	return ends{netip.AddrPortFrom(r.Local.Address, r.Local.Port), netip.AddrPortFrom(r.Peer.Address, r.Peer.Port)}
}

func inode(lab *workload.Lab) string { return fmt.Sprintf("inode:%d", lab.NetNS()) }

// nobody is a user without any privilege.
const nobody = 65534

// as makes the program run as nobody, with these capabilities alone.
func (p *program) as(capabilities ...uintptr) *program {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}},
		AmbientCaps: capabilities,
	}
	return p
}
