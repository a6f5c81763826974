// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
)

// tracing is a contender at work.
type tracing struct {
	*contender
	cmd    *exec.Cmd
	file   string // its output
	stderr bytes.Buffer
	ready  time.Duration // from its start until it saw a connection, or said so itself
}

// trace starts a contender with its output in dir, and returns once it sees connections.
func (c *contender) trace(dir string, more ...string) (*tracing, error) {
	t := &tracing{contender: c, file: filepath.Join(dir, c.name+".out")}
	out, err := os.Create(t.file)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	args := append(c.command[1:len(c.command):len(c.command)], more...)
	flag := filepath.Join(dir, "ready")
	os.Remove(flag)
	if c.ours {
		args = append(args, "--ready-file", flag)
	}
	t.cmd = exec.Command(c.command[0], args...)
	t.cmd.Stdout, t.cmd.Stderr = out, &t.stderr
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	err = await(30*time.Second, c.name+" to be ready", func() (bool, error) {
		if c.ours {
			_, err := os.Stat(flag)
			if err == nil || !errors.Is(err, os.ErrNotExist) {
				return true, err
			}
			return false, t.alive()
		}
		return t.counts()
	})
	t.ready = time.Since(began)
	if err != nil {
		t.cmd.Process.Kill()
		t.cmd.Wait()
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(t.stderr.Bytes()))
	}
	return t, nil
}

// alive fails when the process has ended.
func (t *tracing) alive() error {
	stat, err := readStat(t.cmd.Process.Pid)
	if err == nil && stat.zombie {
		err = errors.New("it ended")
	}
	return err
}

// counts makes a connection and reports whether a program of the contender has run: the
// BPF statistics must be on.
func (t *tracing) counts() (bool, error) {
	if err := t.alive(); err != nil {
		return false, err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return false, err
	}
	c, err := net.Dial("tcp4", l.Addr().String())
	if err == nil {
		c.Close()
	}
	l.Close()
	if err != nil {
		return false, err
	}
	programs, err := t.programs()
	return programs.total().runs > 0, err
}

// stop ends the contender in its own way and returns what all of its life has cost.
func (t *tracing) stop() (rusage *syscall.Rusage, err error) {
	if err := t.cmd.Process.Signal(os.Interrupt); err != nil {
		return nil, fmt.Errorf("stop %s: %w", t.name, err)
	}
	err = t.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && (!t.ours || exit.ExitCode() < 0) {
		err = nil // some end by the signal
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", t.name, err, bytes.TrimSpace(t.stderr.Bytes()))
	}
	return t.cmd.ProcessState.SysUsage().(*syscall.Rusage), nil
}

// program is what the kernel has counted of one BPF program.
type program struct {
	name   string
	runs   uint64
	time   time.Duration
	missed uint64 // skipped because another program, or itself, was running
}

type programs []program

func (ps programs) total() (sum program) {
	for _, p := range ps {
		sum.runs += p.runs
		sum.time += p.time
		sum.missed += p.missed
	}
	return sum
}

// state returns the program that runs at each state change.
func (ps programs) state(name string) program {
	if name == "" {
		return ps.total()
	}
	for _, p := range ps {
		if p.name == name {
			return p
		}
	}
	return program{}
}

// since is what has been counted between before and ps.
func (ps programs) since(before programs) programs {
	diff := make(programs, 0, len(ps))
	for _, p := range ps {
		b := before.state(p.name)
		diff = append(diff, program{p.name, p.runs - b.runs, p.time - b.time, p.missed - b.missed})
	}
	return diff
}

// programs reads the programs that the contender holds.
func (t *tracing) programs() (list programs, err error) {
	seen := map[string]bool{}
	err = t.descriptors(func(info map[string]string) error {
		id := info["prog_id"]
		if id == "" || seen[id] || info["run_cnt"] == "" {
			return nil
		}
		seen[id] = true
		p := program{name: id}
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			if prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(n)); err == nil {
				if i, err := prog.Info(); err == nil {
					p.name = i.Name
				}
				prog.Close()
			}
		}
		p.runs, _ = strconv.ParseUint(info["run_cnt"], 10, 64)
		ns, _ := strconv.ParseInt(info["run_time_ns"], 10, 64)
		p.time = time.Duration(ns)
		p.missed, _ = strconv.ParseUint(info["recursion_misses"], 10, 64)
		list = append(list, p)
		return nil
	})
	return list, err
}

// mapBytes is the kernel's memory for the contender's maps, but for the ring: that is
// mapped, and so part of what is resident.
func (t *tracing) mapBytes() (total int64, err error) {
	seen := map[string]bool{}
	err = t.descriptors(func(info map[string]string) error {
		id := info["map_id"]
		if id == "" || seen[id] || info["max_entries"] == "" {
			return nil
		}
		seen[id] = true
		if info["map_type"] == strconv.Itoa(int(ebpf.RingBuf)) {
			return nil
		}
		n, err := strconv.ParseInt(info["memlock"], 10, 64)
		total += n
		return err
	})
	return total, err
}

// descriptors calls fn with what /proc says of each open file.
func (t *tracing) descriptors(fn func(map[string]string) error) error {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", t.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			continue // closed meanwhile
		}
		info := map[string]string{}
		for scan := bufio.NewScanner(f); scan.Scan(); {
			if k, v, ok := strings.Cut(scan.Text(), ":"); ok {
				info[k] = strings.TrimSpace(v)
			}
		}
		f.Close()
		if err := fn(info); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	return nil
}
