// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/cilium/ebpf/btf"

	"finwait/tracer/privilege"
)

// ErrNoFunction is returned when this kernel has no function, tracepoint or symbol of the needed shape.
var ErrNoFunction = errors.New("not on this kernel")

// kernel answers questions about the running kernel, from its type information and its symbols.
type kernel struct {
	types     *btf.Spec
	cache     *btf.Cache
	symbols   map[string]span // those that the timer probe needs; read for that alone
	symbolErr error           // why there are none
	fentryErr error           // why fentry programs cannot be loaded; nil if they can
}

// span is where a symbol lies in memory: from start up to, not including, end.
type span struct{ start, end uint64 }

var wantedSymbols = []string{"tw_timer_handler", "reqsk_timer_handler", "tcp_v4_rcv", "tcp_v6_rcv"}

// readSymbols finds names in the format of /proc/kallsyms, which is in order of
// address, so a symbol ends where the next address begins. The kernel prints zeros
// to a reader without CAP_SYSLOG, or under kernel.kptr_restrict=2: such symbols
// are left out. It reads no further than it has to: each line is work for the kernel.
func readSymbols(r io.Reader, names []string) (map[string]span, error) {
	found := make(map[string]span, len(names))
	open := map[string]uint64{}
	scan := bufio.NewScanner(r)
	for len(found) < len(names) && scan.Scan() {
		// ffffffff82006870 t tw_timer_handler; a fourth field, behind a tab, names a module
		address, rest, _ := bytes.Cut(scan.Bytes(), []byte(" "))
		_, symbol, ok := bytes.Cut(rest, []byte(" "))
		wanted := ok && slices.Contains(names, string(symbol))
		if !wanted && (len(open) == 0 || bytes.IndexByte(symbol, '\t') >= 0) {
			continue
		}
		addr, err := strconv.ParseUint(string(address), 16, 64)
		if err != nil || addr == 0 {
			continue
		}
		for name, start := range open {
			if addr > start {
				found[name] = span{start, addr}
				delete(open, name)
			}
		}
		if wanted {
			open[string(symbol)] = addr
		}
	}
	return found, scan.Err()
}

func hostSymbols() (map[string]span, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("%w; mount proc on /proc", err)
	}
	defer f.Close()
	found, err := readSymbols(f, wantedSymbols)
	if err == nil && len(found) == 0 {
		err = hidden(privilege.Lacks("CAP_SYSLOG"))
	}
	return found, err
}

func (k *kernel) fentry() error { return k.fentryErr }

func (k *kernel) timerSymbols() error {
	if _, ok := k.symbols["tw_timer_handler"]; ok {
		return nil
	}
	return k.noSymbol("tw_timer_handler")
}

// noSymbol says why a symbol is not known, and what to do.
func (k *kernel) noSymbol(name string) error {
	err := k.symbolErr
	if err == nil {
		err = ErrNoFunction
	}
	return fmt.Errorf("find %s in /proc/kallsyms: %w", name, err)
}

// hidden is why the kernel shows zeros for addresses.
func hidden(lacksSyslog bool) error {
	if lacksSyslog {
		return fmt.Errorf("%w: the kernel shows addresses to CAP_SYSLOG alone, which this process lacks; give it that, or run it with sudo", ErrPrivilege)
	}
	return fmt.Errorf("the kernel shows no addresses; set kernel.kptr_restrict to 0 or 1: %w", ErrNoFunction)
}

// countsAtExpiry reports whether TcpExt TW and TWKilled count mini-sockets that expire, in
// tw_timer_handler(), rather than those that are born, in __inet_twsk_schedule(). That was
// so as long as the mini-socket kept tw_kill, which says which of the two it will be.
func (k *kernel) countsAtExpiry() bool {
	var tw *btf.Struct
	if err := k.types.TypeByName("inet_timewait_sock", &tw); err != nil {
		return false
	}
	return slices.ContainsFunc(tw.Members, func(m btf.Member) bool { return m.Name == "tw_kill" })
}

// args returns the number of parameters of a kernel function or, for a tracepoint, of
// its callback less the first, which belongs to the tracepoint.
func (k *kernel) functionArgs(name string) (int, error) {
	var fn *btf.Func
	if err := k.types.TypeByName(name, &fn); err != nil {
		return 0, fmt.Errorf("find %s: %w", name, ErrNoFunction)
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return 0, fmt.Errorf("find %s: %w", name, ErrNoFunction)
	}
	return len(proto.Params), nil
}

func (k *kernel) tracepointArgs(name string) (int, error) {
	var def *btf.Typedef
	if err := k.types.TypeByName("btf_trace_"+name, &def); err != nil {
		return 0, fmt.Errorf("find tracepoint %s: %w", name, ErrNoFunction)
	}
	if ptr, ok := btf.UnderlyingType(def).(*btf.Pointer); ok {
		if proto, ok := ptr.Target.(*btf.FuncProto); ok {
			return len(proto.Params), nil
		}
	}
	return 0, fmt.Errorf("find tracepoint %s: %w", name, ErrNoFunction)
}

// needsArgs is for a tracepoint whose shape differs between kernels: its callback
// must have min to max parameters, the tracepoint's own included.
func needsArgs(tracepoint string, min, max int) func(*kernel) error {
	return func(k *kernel) error {
		n, err := k.tracepointArgs(tracepoint)
		if err != nil {
			return err
		}
		if n < min || n > max {
			return fmt.Errorf("use tracepoint %s with %d arguments: %w", tracepoint, n-1, ErrNoFunction)
		}
		return nil
	}
}

func dropArgs(min int) func(*kernel) error {
	return func(k *kernel) error {
		if len(k.symbols) == 0 {
			return k.noSymbol("tcp_v4_rcv")
		}
		return needsArgs("kfree_skb", min, 9)(k)
	}
}

func packetArgs(want int) func(*kernel) error {
	return func(k *kernel) error {
		if k.fentryErr != nil {
			return k.fentryErr
		}
		n, err := k.functionArgs("tcp_timewait_state_process")
		if err != nil {
			return err
		}
		if n != want {
			return fmt.Errorf("use tcp_timewait_state_process with %d arguments: %w", n, ErrNoFunction)
		}
		return nil
	}
}
