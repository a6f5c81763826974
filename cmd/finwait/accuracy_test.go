// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/thread"
	"finwait/tracer/workload"
)

// probes are the TIME_WAIT probes that this kernel allows.
func probes(t *testing.T) []tracer.Probe {
	t.Helper()
	needsKernel(t)
	list, err := hostProbes()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

var hostProbes = sync.OnceValues(func() ([]tracer.Probe, error) {
	var list []tracer.Probe
	for _, p := range []tracer.Probe{tracer.ProbeFentry, tracer.ProbeTimer} {
		tr, err := tracer.Open(tracer.Options{SkipSeed: true, Probe: p})
		if err == nil {
			list = append(list, p)
			err = tr.Close()
		} else if errors.Is(err, tracer.ErrKernel) {
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	if list == nil {
		return nil, errors.New("this kernel allows no TIME_WAIT probe")
	}
	return list, nil
})

// TestFeatureKinds makes every kind of close once, and holds the trace against what was done.
func TestFeatureKinds(t *testing.T) {
	for _, probe := range probes(t) {
		t.Run(probe.String(), func(t *testing.T) {
			allKinds(t, tracer.Options{Probe: probe})
		})
	}
}

// TestNoCookies is the same as on kernels before 5.12, which give no cookies to tracing programs.
func TestNoCookies(t *testing.T) {
	needsKernel(t)
	allKinds(t, tracer.Options{NoCookies: true})
}

func allKinds(t *testing.T, opt tracer.Options) {
	lab, ctx := newLab(t, workload.Options{FinTimeout: 2 * time.Second})
	r := traceLab(t, ctx, lab, opt)
	for _, kind := range workload.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			onceVisible(t, func(c checker) {
				ledger, err := lab.Run(ctx, kind)
				if errors.Is(err, errors.ErrUnsupported) {
					t.Skipf("kernel lacks: %v", err)
				}
				if err != nil {
					t.Fatal(err)
				}
				var met func() bool
				if kind == workload.OrphanFinWait2 {
					client := ledger.Closes[0].Client
					met = func() bool {
						return slices.ContainsFunc(r.rows, func(t event.Transition) bool {
							return t.Orphan != event.EndNone && t.Local == client.Local && t.Peer == client.Peer
						})
					}
				}
				s := r.settled(met)
				s.only(ledger.Closes) // older TIME_WAITs may have ended meanwhile
				compare(c, ledger.Closes, s)
				compareCounters(c, ledger.Kernel(), s)
				kindDetails(c, kind, s, r)
			})
		})
	}
	r.finish()
	r.nothingLost()
}

// kindDetails checks what is special about a kind, beyond the ledger's columns.
func kindDetails(t checker, kind workload.Kind, s *seen, r *rig) {
	t.Helper()
	switch kind {
	case workload.TWFinAgain:
		// The TIME_WAIT is still open, so its restarts are in no row yet.
		restarts := -1
		r.settled(func() bool {
			return r.flow.OpenTimeWaits(tracer.Now(), func(tr *event.Transition) error {
				if tr.Local == s.rows[0].Local && tr.Peer == s.rows[0].Peer && tr.TimeWait != nil {
					restarts = tr.TimeWait.Restarts
				}
				return nil
			}) == nil
		})
		if restarts != 1 {
			t.Errorf("restarts %d, want 1", restarts)
		}
	case workload.OrphanFinWait2:
		last := s.rows[len(s.rows)-1]
		if last.Old != event.FinWait2 || last.New != event.Close || last.Orphan != event.EndExpired {
			t.Errorf("last row %v → %v, orphan %v; want the orphan's FIN_WAIT2 to expire", last.Old, last.New, last.Orphan)
		}
	case workload.TWReused:
		for _, row := range s.rows {
			if row.TimeWait != nil && (row.TimeWait.Successor.PID == 0 || row.TimeWait.SuccessorCookie == 0 && row.Cookie != 0) {
				t.Errorf("the successor is not named: %+v", *row.TimeWait)
			}
		}
	case workload.Sigkill:
		if row := s.rows[0]; row.Process.Signal != 9 {
			t.Errorf("signal %d on the first row, want 9", row.Process.Signal)
		}
	case workload.ClientFirst, workload.ServerFirst:
		for _, row := range s.rows {
			if !row.PeerProcess.Known() || row.PeerProcess.PID == row.Process.PID {
				t.Errorf("%v → %v: the other end's process is %+v", row.Old, row.New, row.PeerProcess)
			}
			if row.Role == event.RoleUnknown {
				t.Errorf("%v → %v: role not known", row.Old, row.New)
			}
			if row.Duration < 0 {
				t.Errorf("%v → %v: duration not known", row.Old, row.New)
			}
		}
	case workload.Thread:
		for _, row := range s.rows {
			if row.New == event.FinWait1 && row.Process.TID == row.Process.PID {
				t.Errorf("the closing thread is %d, the process itself; want another one", row.Process.TID)
			}
		}
	}
}

// TestFeatureStorm is the bar: thousands of scripted closes at full speed by several
// processes, every verdict right, no wrong process, every count equal to the kernel's,
// and nothing lost. FINWAIT_STORM sets how many.
func TestFeatureStorm(t *testing.T) {
	n := 20000
	if os.Getenv("FINWAIT_EMULATOR") != "" {
		n = 1000
	}
	if s := os.Getenv("FINWAIT_STORM"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	for _, probe := range probes(t) {
		t.Run(probe.String(), func(t *testing.T) {
			onceVisible(t, func(c checker) {
				lab, ctx := newLab(t, workload.Options{})
				r := traceLab(t, ctx, lab, tracer.Options{Probe: probe, RingBytes: 64 << 20})
				began := time.Now()
				ledger, err := lab.Storm(ctx, n)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d closes in %v", len(ledger.Closes), time.Since(began).Round(time.Millisecond))
				s := r.settled(nil)
				r.finish()
				compare(c, ledger.Closes, s)
				compareCounters(c, ledger.Kernel(), s)
				r.nothingLostTo(c)
			})
		})
	}
}

// TestFeatureInterrupted makes the state program so slow that softirqs interrupt it. The
// kernel skips it then; the second instance must pick up all of that, and nothing twice:
// it must say what a tracer beside it says that is hardly ever interrupted.
//
// The ledger is no judge here. There are hosts that run no BPF program while a task of
// their supervisor is current, and packets that are steered to other CPUs interrupt that
// task too.
func TestFeatureInterrupted(t *testing.T) {
	if os.Getenv("FINWAIT_VIRTUAL_TIME") != "" {
		t.Skip("kernel lacks: CPUs that run at the same time")
	}
	lab, ctx := newLab(t, workload.Options{})
	if err := steer(lab); err != nil {
		t.Skipf("kernel lacks: %v", err)
	}
	swift := traceLab(t, ctx, lab, tracer.Options{RingBytes: 64 << 20})
	slow := traceLab(t, ctx, lab, tracer.Options{RingBytes: 64 << 20, Drag: 1000})
	interrupted := func() bool {
		c, err := slow.tracer.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return c.PickedUp > 0
	}
	for round := 0; round < 20 && !interrupted(); round++ {
		if _, err := lab.Storm(ctx, 2000); err != nil {
			t.Fatal(err)
		}
	}
	want, got := swift.settled(nil), slow.settled(nil)
	swift.finish()
	slow.finish()
	if !interrupted() {
		t.Error("nothing interrupted the program: the test has shown nothing")
	}
	if diff := cmp.Diff(verdicts(want.rows), verdicts(got.rows)); diff != "" {
		t.Errorf("the interrupted tracer says something else (-swift +slow):\n%.4000s", diff)
	}
	for _, r := range []*rig{swift, slow} {
		c, err := r.tracer.Counters()
		if err != nil {
			t.Fatal(err)
		}
		for reason, n := range c.Lost {
			if n != 0 {
				t.Errorf("%d lost: %v (skipped: %v)", n, reason, c.Skipped)
			}
		}
		t.Logf("%d events; the kernel skipped %d of the first instance's, %d were picked up", c.Events, c.Skipped["on_state"], c.PickedUp)
	}
}

// verdicts are rows without their times, in an order of their own.
func verdicts(rows []event.Transition) []string {
	list := make([]string, len(rows))
	for i := range rows {
		t := &rows[i]
		list[i] = fmt.Sprintf("%d %v→%v %v %v→%v %s[%d] %v %v %v %d", t.Cookie, t.Local, t.Peer, t.Role, t.Old, t.New, t.Process.Comm, t.Process.PID, t.Closer, t.Method, t.Call, t.Errno)
	}
	slices.Sort(list)
	return list
}

// steer lets every CPU take packets of the lab's loopback device, wherever they were
// sent (RPS): an interrupt from the sending CPU then starts a softirq on a CPU that may
// be in the middle of a system call.
func steer(lab *workload.Lab) error {
	return lab.Do(func() error {
		done := make(chan error, 1)
		ns, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			return err
		}
		defer ns.Close()
		thread.Go(func() { done <- steerFrom(int(ns.Fd())) })
		return <-done
	})
}

// steerFrom mounts a sysfs of the namespace where nobody else sees it; the thread ends
// with the goroutine.
func steerFrom(ns int) error {
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leave the mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	if err := os.WriteFile("/sys/class/net/lo/queues/rx-0/rps_cpus", []byte("3"), 0); err != nil {
		return fmt.Errorf("steer packets: %w", err)
	}
	return nil
}
