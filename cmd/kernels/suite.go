// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"finwait/cmd/kernels/guest"
	"finwait/cmd/kernels/report"
	"finwait/cmd/kernels/vm"
)

// suite runs the tests of one package in many machines.
type suite struct {
	cache    cache
	jobs     int           // machines at a time
	timeout  time.Duration // for each
	verbose  bool          // show the output of what passes, too
	out      io.Writer
	env      []string
	only     string // -test.run, in virtual time
	onlyReal string // and by the host's clock
	args     []string

	mu       sync.Mutex // guards out
	programs map[string]program
	copies   []vm.Copy // test data
	dir      string    // the package's, in the guest
}

// program is what was built for an architecture.
type program struct{ init, tests string }

// guestRoot is where the module is in the guest, as far as it is there: tests look for
// test data relative to their package.
const guestRoot = "/src"

// build builds the tests once for each architecture.
func (s *suite) build(ctx context.Context, pkg string, targets []target) (cleanup func(), err error) {
	dir, err := os.MkdirTemp("", "finwait-tests-")
	if err != nil {
		return nil, fmt.Errorf("make room for the tests: %w", err)
	}
	cleanup = func() { os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			cleanup()
		}
	}()
	where, err := goTool(ctx, "", "list", "-f", "{{.Dir}} {{.Module.Dir}}", pkg)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", pkg, err)
	}
	source, root, _ := strings.Cut(strings.TrimSpace(where), " ")
	below, err := filepath.Rel(root, source)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", pkg, err)
	}
	s.dir = path.Join(guestRoot, below)
	for _, at := range []string{".", below} {
		from := filepath.Join(root, at, "testdata")
		if _, err := os.Stat(from); err == nil {
			s.copies = append(s.copies, vm.Copy{Source: from, Target: path.Join(guestRoot, at, "testdata")})
		}
	}
	s.programs = map[string]program{}
	for _, t := range targets {
		if _, ok := s.programs[t.arch]; ok {
			continue
		}
		p := program{tests: filepath.Join(dir, "tests-"+t.arch)}
		if p.init, err = initProgram(ctx, t.arch, dir); err != nil {
			return nil, err
		}
		if _, err := goTool(ctx, t.arch, "test", "-c", "-o", p.tests, pkg); err != nil {
			return nil, fmt.Errorf("build tests: %w", err)
		}
		if _, err := os.Stat(p.tests); err != nil { // go test -c is content with nothing
			return nil, fmt.Errorf("build tests: %s has none", pkg)
		}
		s.programs[t.arch] = p
	}
	return cleanup, nil
}

// trial is one column of the table.
type trial struct {
	target  target
	record  record
	virtual bool // in virtual time
}

func (t trial) String() string {
	name := seriesOf(t.record.Release)
	if t.target.arch != "amd64" {
		name += " " + t.target.arch
	}
	if !t.virtual {
		name += " real"
	}
	return name
}

// trials leaves out the kernels that there are not.
func trials(kernels map[target]record, virtual, again []target) []trial {
	var all []trial
	for i, targets := range [][]target{virtual, again} {
		for _, t := range targets {
			if r, ok := kernels[t]; ok {
				all = append(all, trial{t, r, i == 0})
			}
		}
	}
	return all
}

// run runs the trials: those in virtual time several at a time, for each keeps one CPU
// busy and none minds being slowed down; then the others, one after the other.
func (s *suite) run(ctx context.Context, all []trial) ([]report.Column, error) {
	columns, errs := make([]report.Column, len(all)), make([]error, len(all))
	queue := make(chan int, len(all))
	for i, t := range slices.Backward(all) { // newer kernels take longer
		if t.virtual {
			queue <- i
		}
	}
	close(queue)
	var workers sync.WaitGroup
	for range max(1, s.jobs) {
		workers.Go(func() {
			for i := range queue {
				columns[i], errs[i] = s.try(ctx, all[i])
			}
		})
	}
	workers.Wait()
	for i, t := range all {
		if !t.virtual {
			columns[i], errs[i] = s.try(ctx, t)
		}
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return columns, nil
}

// try runs one trial. What goes wrong in the machine is in the column.
func (s *suite) try(ctx context.Context, t trial) (report.Column, error) {
	if err := ctx.Err(); err != nil {
		return report.Column{}, err
	}
	s.printf("%s: %s started\n", t, t.record.Release)
	var output bytes.Buffer
	result, err := boot(ctx, s.machine(t), &output, func(warning string) { s.printf("%s: %s", t, warning) })
	if ctx.Err() != nil {
		return report.Column{}, ctx.Err()
	}
	c := report.Column{
		Name:     t.String(),
		Tests:    report.Parse(output.String()),
		Troubles: append(result.Complaints(), report.Console(result.Console)...),
		Wall:     result.Wall,
	}
	if bad := result.BadTaint(); bad != "" {
		c.Troubles = append(c.Troubles, "the kernel is tainted: "+bad)
	}
	if err != nil {
		c.Troubles = append(c.Troubles, err.Error())
	}
	if len(c.Problems()) == 0 && result.Code != 0 {
		c.Troubles = append(c.Troubles, fmt.Sprintf("exit status %d", result.Code))
	}
	s.finish(t, c, report.Clean(output.String()), result.Console)
	return c, nil
}

// finish prints how a trial ended, and all that it wrote if that was badly.
func (s *suite) finish(t trial, c report.Column, output, console string) {
	verdict := "ok"
	if len(c.Problems()) > 0 {
		verdict = "FAIL"
	}
	var b strings.Builder
	if verdict != "ok" || s.verbose {
		fmt.Fprintf(&b, "\n=== output of %s ===\n%s=== end of output of %s ===\n", t, output, t)
	}
	if len(c.Troubles) > 0 {
		fmt.Fprintf(&b, "=== console of %s ===\n%s=== end of console of %s ===\n", t, console, t)
	}
	fmt.Fprintf(&b, "%s: %s, %.0f s\n", t, verdict, c.Wall.Seconds())
	s.printf("%s", b.String())
}

func (s *suite) machine(t trial) vm.Machine {
	p := s.programs[t.target.arch]
	env := []string{"FINWAIT_REQUIRE_KERNEL=1", "FINWAIT_EMULATOR=1"}
	// Of the guest's time: where that skips what is idle, a test that hangs takes seconds.
	// By the host's clock the tests must end before the machine is ended, to tell why.
	limit, only := time.Hour, s.only
	if t.virtual {
		env = append(env, "FINWAIT_VIRTUAL_TIME=1")
	} else {
		limit, only = s.timeout-s.timeout/10, s.onlyReal
	}
	m := s.cache.machine(t.target)
	m.VirtualTime, m.Timeout = t.virtual, s.timeout
	m.Image.Init, m.Image.Program, m.Image.Copies = p.init, p.tests, s.copies
	m.Image.Payload = guest.Payload{
		Args: append([]string{
			path.Join(s.dir, "tests"), "-test.v=test2json", "-test.timeout=" + limit.String(), "-test.run=" + only,
		}, s.args...),
		Env:     append(env, s.env...),
		Dir:     s.dir,
		Modules: chooseModules(t.record.Modules, "all"),
	}
	return m
}

func (s *suite) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format, args...)
}
