// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// workerEnv is set for re-executions of the binary that are to be workers.
const workerEnv = "FINWAIT_WORKLOAD_WORKER"

// Only during initialisation is the main goroutine sure to be on the process's first
// thread. A worker stays there: what it does without further ado is done by the
// thread-group leader, whose name a process goes by.
func init() {
	if os.Getenv(workerEnv) != "" {
		runtime.LockOSThread()
	}
}

// Main turns the process into a worker and does not return, if it was started as one.
// Otherwise it does nothing. Call it before anything else in main or TestMain.
func Main() {
	if os.Getenv(workerEnv) == "" {
		return
	}
	if err := work(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// worker is the state of one worker process.
type worker struct {
	pid    int
	comm   string
	diag   *diag
	server *server
	open   *connection
	hoard  []*connection
	serial int         // connections generated: names addresses, ports and ledger rows
	closer chan func() // to the thread that closes for kind Thread
}

// work serves requests until the coordinator closes the pipe.
func work(in io.Reader, out io.Writer) error {
	w := &worker{pid: os.Getpid(), comm: os.Args[0]} // what the coordinator calls it
	answers := json.NewEncoder(out)
	hello, err := w.prepare()
	if err != nil {
		hello.Error = err.Error()
	}
	if err := answers.Encode(hello); err != nil {
		return fmt.Errorf("report to coordinator: %w", err)
	}
	requests := json.NewDecoder(bufio.NewReader(in))
	for {
		var r request
		if err := requests.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		halves, err := w.serve(r)
		answer := reply{Halves: halves}
		if err != nil {
			answer.Error = err.Error()
		}
		if err := answers.Encode(answer); err != nil {
			return fmt.Errorf("write reply: %w", err)
		}
	}
}

func (w *worker) prepare() (ready, error) {
	if len(os.Args) != 2 {
		return ready{}, errors.New("start worker: want a name and a port")
	}
	// The name is argv[0]; execve() has named the process after the file.
	name := append([]byte(w.comm), 0)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
		return ready{}, fmt.Errorf("set process name: %w", err)
	}
	var err error
	if w.diag, err = openDiag(); err != nil {
		return ready{}, err
	}
	port, err := strconv.ParseUint(os.Args[1], 10, 16)
	if err != nil {
		return ready{}, fmt.Errorf("parse port: %w", err)
	}
	if port == 0 {
		return ready{}, nil
	}
	if w.server, err = listen(w, uint16(port)); err != nil {
		return ready{}, err
	}
	return ready{IPv6: len(w.server.listeners) > 1}, nil
}

func (w *worker) serve(r request) ([]half, error) {
	switch r.Op {
	case opServe:
		return w.server.serve(r.Count)
	case opHost:
		w.server.host()
		return nil, nil
	case opDrain:
		return w.server.drain(r.Count)
	case opRelease:
		return w.server.release()
	case opAdopt:
		h, err := w.adopt()
		return one(h), err
	case opRun, opOpen:
		return w.begin(r)
	case opFinish:
		return w.end(r)
	case opHoard:
		return w.fill(r)
	case opGenerate:
		return w.generate(r)
	}
	return nil, fmt.Errorf("serve request: no operation %q", r.Op)
}

func (w *worker) begin(r request) ([]half, error) {
	c, err := w.connect(r)
	if err != nil {
		return nil, err
	}
	if r.Op == opOpen {
		w.open = c
		return one(c.half), nil
	}
	err = w.finish(c)
	return one(c.half), err
}

func (w *worker) end(r request) ([]half, error) {
	c := w.open
	if c == nil {
		return nil, errors.New("finish connection: none is open")
	}
	w.open = nil
	if r.Kind != "" {
		c.kind = r.Kind
	}
	err := w.finish(c)
	return one(c.half), err
}

// fill opens connections and keeps them all: for a process that will be killed.
func (w *worker) fill(r request) ([]half, error) {
	var halves []half
	for i := range r.Count {
		next := r
		next.ID = r.ID + uint32(i)
		next.Dest = spread(r.Dest.Addr(), i, r.Ports[i%len(r.Ports)])
		c, err := w.connect(next)
		if err != nil {
			return nil, err
		}
		w.hoard = append(w.hoard, c)
		halves = append(halves, c.half)
	}
	return halves, nil
}

// side begins a row of this process's and the calling thread's.
func (w *worker) side() Side {
	return Side{PID: w.pid, TID: unix.Gettid(), Comm: w.comm}
}

// elsewhere runs f on a thread that is not the leader, always the same one, and waits.
func (w *worker) elsewhere(f func()) {
	if w.closer == nil {
		w.closer = make(chan func())
		go func() {
			// The leader is taken by the main goroutine: this is another thread.
			runtime.LockOSThread()
			for f := range w.closer {
				f()
			}
		}()
	}
	done := make(chan struct{})
	w.closer <- func() { f(); close(done) }
	<-done
}

// until asks again and again, with the processor given away in between.
func until(what string, holds func() (bool, error)) error {
	deadline := time.Now().Add(patience * time.Second)
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: %w", what, os.ErrDeadlineExceeded)
		}
		runtime.Gosched()
		pause := unix.Timespec{Nsec: 20_000}
		_ = unix.Nanosleep(&pause, nil) // EINTR only makes the next look earlier
	}
}

func one(h half) []half { return []half{h} }
