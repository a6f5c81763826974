// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"finwait/tracer/workload"
)

// soaking is how long to load a trace: by the clock, or until so many closes were made.
// make soak sets it; the tests of every day take the short form.
func soaking(t *testing.T) (duration time.Duration, closes int) {
	t.Helper()
	duration = 20 * time.Second
	if s := os.Getenv("FINWAIT_SOAK"); s != "" {
		var err error
		if duration, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("FINWAIT_SOAK_CLOSES"); s != "" {
		var err error
		if closes, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	return duration, closes
}

// footprint is what a process takes.
type footprint struct{ memory, descriptors, threads int }

func footprintOf(t *testing.T, pid int) (u footprint) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "RssAnon":
			u.memory = n
		case "Threads":
			u.threads = n
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	u.descriptors = len(fds)
	return u
}

// flat fails if the last part of a series is higher than an early one. What is before that
// is the start: tables find their size, the runtime its threads.
func flat(t *testing.T, what string, series []int, slack int) {
	t.Helper()
	if len(series) < 8 {
		t.Fatalf("%s: %d readings are too few", what, len(series))
	}
	part := func(from, to int) int { // the median of these eighths
		s := slices.Clone(series[len(series)*from/8 : len(series)*to/8])
		slices.Sort(s)
		return s[len(s)/2]
	}
	early, late := part(2, 4), part(6, 8)
	t.Logf("%s: %d early, %d at the end, %d at most, of %d readings", what, early, late, slices.Max(series), len(series))
	if late > early+early/8+slack {
		t.Errorf("%s grows: %d early, %d at the end", what, early, late)
	}
}

// TestSoak loads a recording in parts, whose old ones are removed, for a long time: nothing is
// lost, the kernel has counted the same, and neither memory nor descriptors nor threads grow.
func TestSoak(t *testing.T) {
	ss := needsTool(t, "ss")
	needsKernel(t)
	duration, most := soaking(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*duration+labTime)
	defer cancel()
	lab, err := workload.New(ctx, workload.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	file := filepath.Join(dir, "soak.jsonl.zst")
	p := newProgram(t, "record", "-w", file, "--netns", inode(lab), "--rotate-size", "256KiB", "--keep", "3", "--ring-size", "32MiB").live()
	p.life = 3*duration + labTime
	p.start()

	var memory, descriptors, threads []int
	began, made := time.Now(), 0
	for time.Since(began) < duration && (most == 0 || made < most) || len(memory) < 8 {
		storm, err := lab.Storm(ctx, 500)
		if err != nil {
			t.Fatal(err)
		}
		made += len(storm.Closes)
		// They would stay for a minute, and the picture would grow all that time.
		if err := lab.Do(exec.Command(ss, "-K", "-t", "state", "time-wait").Run); err != nil {
			t.Fatal(err)
		}
		u := footprintOf(t, p.cmd.Process.Pid)
		memory, descriptors, threads = append(memory, u.memory), append(descriptors, u.descriptors), append(threads, u.threads)
	}
	t.Logf("%d closes in %v", made, time.Since(began).Round(time.Second))
	flat(t, "memory (KiB)", memory, 4096)
	flat(t, "descriptors", descriptors, 0)
	flat(t, "threads", threads, 2)
	p.signal(os.Interrupt).exits(exitDone).hasTotals(false)
	if strings.Contains(p.err.String(), "DIFFER") && !hidesInit() {
		t.Error(p.err.String())
	}
	parts, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(parts) != 3 {
		t.Errorf("%d parts are left, want 3; %v", len(parts), err)
	}
}

// TestGoroutines: a trace in this very process starts a few goroutines, no more however long it
// lasts, and leaves none.
func TestGoroutines(t *testing.T) {
	lab, ctx := newLab(t, workload.Options{})
	storm := func() {
		t.Helper()
		if _, err := lab.Storm(ctx, 200); err != nil {
			t.Fatal(err)
		}
	}
	storm() // the lab has its own
	before := runtime.NumGoroutine()
	for range 3 {
		cmd := &cobra.Command{}
		f := recordFlags{liveFlags: liveFlags{output: "json", view: "transitions"}}
		f.register(cmd)
		ready := filepath.Join(t.TempDir(), "ready")
		file := filepath.Join(t.TempDir(), "x.jsonl.zst")
		// This process has other tests to run: it keeps its privileges.
		if err := cmd.ParseFlags([]string{"-w", file, "--netns", inode(lab), "--keep-capabilities", "all", "--ready-file", ready, "--rotate-size", "64KiB"}); err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- runRecord(running, io.Discard, f) }()
		for _, err := os.Stat(ready); err != nil; _, err = os.Stat(ready) {
			select {
			case err := <-ended:
				t.Fatal(err)
			default:
				runtime.Gosched()
			}
		}
		var counts []int
		for range 12 {
			storm()
			counts = append(counts, runtime.NumGoroutine())
		}
		flat(t, "goroutines", counts, 2)
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	// One that is told to end may take a moment.
	for runtime.NumGoroutine() > before {
		select {
		case <-ctx.Done():
			t.Fatalf("%d goroutines before, %d afterwards", before, runtime.NumGoroutine())
		default:
			runtime.Gosched()
		}
	}
}
