// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// process is a worker, seen from the coordinator.
type process struct {
	name string
	port uint16 // that it serves; 0 for none
	ipv6 bool

	cmd      *exec.Cmd
	in       io.WriteCloser
	requests *json.Encoder
	answers  *json.Decoder
	said     *bytes.Buffer // on stderr

	ending sync.Once
	ended  atomic.Bool
}

// start re-executes the binary inside the namespace: fork() copies the namespace of the
// thread that calls it, so every thread of the worker is inside from its first moment.
// adoption, if any, becomes descriptor 3.
func start(ctx context.Context, n *namespace, name string, port uint16, adoption *os.File) (*process, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{name, strconv.Itoa(int(port))}
	// Without preemption signals blocking calls are not interrupted for nothing.
	cmd.Env = append(os.Environ(), workerEnv+"=1", "GODEBUG=asyncpreemptoff=1")
	if adoption != nil {
		cmd.ExtraFiles = []*os.File{adoption}
	}
	// The signal comes when the starting thread ends, which is the namespace's own: no
	// worker outlives its Lab, even if the coordinator is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &process{name: name, port: port, cmd: cmd, said: new(bytes.Buffer)}
	cmd.Stderr = p.said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.in, p.requests, p.answers = in, json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	if err := n.do(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	var hello ready
	err = p.exchange(ctx, func() error { return p.answers.Decode(&hello) })
	if err == nil && hello.Error != "" {
		err = errors.New(hello.Error)
	}
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.ipv6 = hello.IPv6
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// call has the worker do something and waits for it.
func (p *process) call(ctx context.Context, r request) ([]half, error) {
	var answer reply
	err := p.exchange(ctx, func() error {
		if err := p.requests.Encode(r); err != nil {
			return err
		}
		return p.answers.Decode(&answer)
	})
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", p.name, r.Op, err)
	}
	return answer.Halves, nil
}

// exchange talks to the worker. There is no way to take a request back: when the
// context ends the worker dies, which also ends the talk.
func (p *process) exchange(ctx context.Context, talk func() error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	err := talk()
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	p.kill() // whatever it was: also completes what it had to say
	if text := strings.TrimSpace(p.said.String()); text != "" {
		return fmt.Errorf("worker died: %s", text)
	}
	return fmt.Errorf("worker died: %w", err)
}

// kill ends the worker and waits until it has: its sockets are closed then.
func (p *process) kill() {
	p.ending.Do(func() {
		_ = p.cmd.Process.Kill() // fails only for a process that is over
		_ = p.in.Close()
		_ = p.cmd.Wait() // "signal: killed"
		p.ended.Store(true)
	})
}
