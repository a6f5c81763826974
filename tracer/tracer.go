// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"finwait/tracer/event"
	"finwait/tracer/privilege"
)

// Tracer is a running trace of this host.
type Tracer struct {
	opt      Options
	probe    Probe
	kernel   *kernel
	objects  *objects
	reader   *ringbuf.Reader
	status   []HookStatus
	seed     Seed
	losses   losses
	lookErr  error // why sockets cannot be looked at
	attach   time.Duration
	newest   int64          // ktime of the newest sample read
	seen     []event.Sample // what existed at the start; handed over once
	atExpiry bool           // see CountsAtExpiry
	record   ringbuf.Record // being read
	sample   event.Sample   // decoded from it
}

// Open loads and attaches everything, then lists what already exists. Errors wrap
// ErrPrivilege or ErrKernel where that is the cause. Close must be called.
func Open(opt Options) (*Tracer, error) {
	began := time.Now()
	t := &Tracer{opt: opt.withDefaults(), kernel: &kernel{}}
	var err error
	if t.kernel.types, t.kernel.cache, err = ready(opt.Types); err != nil {
		return nil, err
	}
	if t.objects, err = newObjects(t.opt, t.kernel); err != nil {
		return nil, refusal("set BPF up", err)
	}
	if t.reader, err = ringbuf.NewReader(t.objects.maps["events"]); err != nil {
		return nil, errors.Join(fmt.Errorf("open the ring: %w", err), t.Close())
	}
	if err = t.start(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.attach = time.Since(began)
	if !opt.SkipSeed {
		t.seen = t.seedAll()
	}
	t.lookErr = t.loadLook() // only after a loss does it matter
	t.atExpiry = t.kernel.countsAtExpiry()
	t.kernel.types, t.objects.types, t.objects.spec = nil, nil, nil
	t.kernel.cache, t.objects.cache = nil, nil
	debug.FreeOSMemory() // what loading took is more than what tracing takes
	return t, nil
}

// ready checks what everything that loads programs needs, and returns the kernel's types;
// file, if not empty, is where they are.
func ready(file string) (*btf.Spec, *btf.Cache, error) {
	if err := privilege.Check(); err != nil {
		return nil, nil, err
	}
	if err := mounted(); err != nil {
		return nil, nil, err
	}
	types, cache, err := loadTypes(file)
	if err != nil && !errors.Is(err, ErrTypes) && !errors.Is(err, ErrPrivilege) && !errors.Is(err, ErrKernel) {
		err = fmt.Errorf("%w: read its type information: %w", ErrKernel, err)
	}
	return types, cache, err
}

// start settles the probe and attaches the table of hooks.
func (t *Tracer) start() error {
	t.kernel.fentryErr = t.objects.tryFentry()
	if err := t.kernel.fentryErr; err != nil && t.opt.Probe == ProbeFentry {
		return fmt.Errorf("%w with the fentry probe: %w; use the timer probe, or auto", ErrKernel, err)
	}
	t.probe = t.opt.Probe
	if t.probe == ProbeAuto {
		t.probe = ProbeFentry
		if t.kernel.fentryErr != nil {
			t.probe = ProbeTimer
		}
	}
	missing, err := t.attachAll()
	if err != nil && missing == hookFentry && t.opt.Probe == ProbeAuto {
		// It promised well and did not attach: begin again with the other one.
		t.kernel.fentryErr = errors.Join(t.status[len(t.status)-1].Errs...)
		if err := t.objects.detach(); err != nil {
			return fmt.Errorf("detach: %w", err)
		}
		t.status, t.probe = nil, ProbeTimer
		_, err = t.attachAll()
	}
	return err
}

// locate finds the functions that the timer probe knows by their addresses.
func (t *Tracer) locate() (err error) {
	if t.probe != ProbeTimer {
		return nil
	}
	if t.kernel.symbols, err = hostSymbols(); err != nil {
		t.kernel.symbols, t.kernel.symbolErr = nil, err // the hooks that need them say so
	}
	return t.objects.locate(t.kernel.symbols)
}

// attachAll attaches the table of hooks for the probe. It stops at the first required
// hook that cannot be attached, and returns its name.
func (t *Tracer) attachAll() (missing string, err error) {
	if err := t.locate(); err != nil {
		return "", err
	}
	for _, h := range hooks(t.probe) {
		s := t.hook(h)
		t.status = append(t.status, s)
		if s.Attached == "" && h.Required {
			return h.Name, refusal("hook "+h.Name, errors.Join(s.Errs...))
		}
	}
	return "", nil
}

// hook goes down a hook's ladder.
func (t *Tracer) hook(h Hook) HookStatus {
	s := HookStatus{Hook: h}
	for _, w := range h.Ways {
		if err := t.try(w); err != nil {
			s.Errs = append(s.Errs, fmt.Errorf("%s: %w", w.Name, err))
			continue
		}
		s.Attached = w.Name
		break
	}
	return s
}

func (t *Tracer) try(w Way) error {
	if err := t.usable(w); err != nil {
		return err
	}
	if err := t.objects.load(w.Programs); err != nil {
		return err
	}
	return t.objects.attach(w.Programs)
}

func (t *Tracer) usable(w Way) error {
	if t.opt.Break != nil {
		if err := t.opt.Break(w.Name); err != nil {
			return err
		}
	}
	if w.usable == nil {
		return nil
	}
	return w.usable(t.kernel)
}

// Probe returns the TIME_WAIT probe in use: ProbeFentry or ProbeTimer.
func (t *Tracer) Probe() Probe { return t.probe }

// FentryError tells why the fentry probe cannot be used here; nil if it can.
func (t *Tracer) FentryError() error { return t.kernel.fentryErr }

// Hooks returns what became of every hook, in the order of attaching.
func (t *Tracer) Hooks() []HookStatus { return t.status }

// SegmentsSeen reports whether every segment that ends a TIME_WAIT is seen.
func (t *Tracer) SegmentsSeen() bool {
	for _, h := range t.status {
		if h.Name == hookSegment || h.Name == hookFentry {
			return h.Attached != ""
		}
	}
	return false
}

// NamelessSegments reports whether the kernel says of a dropped segment only its ends,
// not the socket (before 6.11).
func (t *Tracer) NamelessSegments() bool {
	for _, h := range t.status {
		if h.Name == hookSegment {
			return h.Attached == namelessDrop
		}
	}
	return false
}

// CountsAtExpiry reports whether this kernel's TcpExt TW and TWKilled count the mini-sockets
// that expire (until 5.10 at least), rather than those that are born.
func (t *Tracer) CountsAtExpiry() bool { return t.atExpiry }

// LookError tells why Look does not work here; nil if it does.
func (t *Tracer) LookError() error { return t.lookErr }

// AttachTime is how long loading and attaching took.
func (t *Tracer) AttachTime() time.Duration { return t.attach }

// Seed returns what existed when tracing began.
func (t *Tracer) Seed() Seed { return t.seed }

// Close detaches and releases everything. A trace that is to end without loss ends with Run.
func (t *Tracer) Close() error {
	var errs []error
	if t.reader != nil {
		errs = append(errs, t.reader.Close())
	}
	if t.objects != nil {
		errs = append(errs, t.objects.Close())
	}
	return errors.Join(errs...)
}

// Tick is the length of a jiffy, from the resolution of the kernel's coarse clock.
func Tick() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts); err != nil {
		return 0, fmt.Errorf("read the length of a jiffy: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Now is the kernel's CLOCK_MONOTONIC, the clock of every sample, in nanoseconds.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock exists on every Linux
	}
	return ts.Nano()
}
