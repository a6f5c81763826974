// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the bench or, as a child of it, one of its other processes.
func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return runLoad()
		case "hold":
			return runHold(args[1:])
		case "inside":
			return runInside(args[1:])
		}
	}
	// The bench has a network namespace of its own, so that nothing it does shows outside.
	cmd := exec.Command("/proc/self/exe", append([]string{"inside"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("make a network namespace (needs root): %w", err)
	}
	return nil
}

type options struct {
	finwait string
	rounds  int
	conns   int
	quick   bool
	page    string
}

func runInside(args []string) error {
	var o options
	fs := flag.NewFlagSet("bench", flag.ExitOnError)
	fs.StringVar(&o.finwait, "finwait", "./finwait", "the program to measure")
	fs.IntVar(&o.rounds, "rounds", 5, "rounds; each contender has one turn in each")
	fs.IntVar(&o.conns, "conns", 20_000, "connections of one turn")
	fs.BoolVar(&o.quick, "quick", false, "a minute's worth: smaller turns, finwait and tcpstates alone, sizes once")
	fs.StringVar(&o.page, "page", "", "write the tables into this page, between its markers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.quick {
		o.conns = min(o.conns, 6_000)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	dir, err := os.MkdirTemp("", "finwait-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var out strings.Builder
	if err := measure(io.MultiWriter(os.Stdout, &out), os.Stderr, dir, &o); err != nil {
		return err
	}
	if o.page == "" {
		return nil
	}
	return writePage(o.page, out.String())
}

// measure takes all figures and prints the tables.
func measure(out, progress io.Writer, dir string, o *options) error {
	list, missing := contenders(o.finwait)
	if len(list) == 0 || !list[0].ours {
		return fmt.Errorf("no program at %s: make build", o.finwait)
	}
	if o.quick {
		list = list[:min(2, len(list))]
	}
	list = append(list, contender{name: floorName})
	fd := &field{dir: dir, conns: o.conns}
	results, err := fd.rounds(list, o.rounds, progress)
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "many sockets, many TIME_WAITs")
	sockets, timeWaits, err := fd.sizes(&list[0], o, results.empty.median())
	if err != nil {
		return err
	}
	fmt.Fprintln(progress, "replay, report, decode to JSON")
	off, err := fd.offline(&list[0], o.rounds)
	if err != nil {
		return err
	}
	ns, allocs, err := pipelineCost(o.rounds)
	if err != nil {
		return err
	}
	printMachine(out, o, missing)
	printPeers(out, list, results)
	printPrograms(out, results.of["finwait"])
	printSizes(out, sockets, timeWaits)
	printRest(out, off, ns, allocs)
	return nil
}
