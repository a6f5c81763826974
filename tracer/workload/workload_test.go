// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func newLab(t *testing.T, options Options) (*Lab, context.Context) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("FINWAIT_REQUIRE_KERNEL") == "1" {
			t.Fatal("a namespace needs root, and FINWAIT_REQUIRE_KERNEL=1")
		}
		t.Skip("a namespace needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	lab, err := New(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab, ctx
}

func checkCounters(t *testing.T, l Ledger) {
	t.Helper()
	if diff := cmp.Diff(l.Totals(), l.Kernel()); diff != "" {
		t.Errorf("ledger and kernel differ (-ledger +kernel):\n%s", diff)
	}
}

// fate is the part of a side that does not differ from run to run.
type fate struct {
	Comm, Closer, Method string
	TimeWait, Orphan     bool
	End                  string
	Restarts             int
}

func fateOf(s *Side) *fate {
	if s == nil {
		return nil
	}
	return &fate{s.Comm, s.Closer, s.Method, s.TimeWait, s.FinWait2Orphan, s.TimeWaitEnd, s.Restarts}
}

func TestRun(t *testing.T) {
	client := func(closer, method string, timeWait bool) *fate {
		return &fate{Comm: "demo-client", Closer: closer, Method: method, TimeWait: timeWait}
	}
	server := func(closer, method string, timeWait bool) *fate {
		return &fate{Comm: "demo-server", Closer: closer, Method: method, TimeWait: timeWait}
	}
	end := func(f *fate, end string) *fate { f.End = end; return f }
	type row struct{ Client, Server *fate }
	first := row{client("local", "close", true), server("peer", "fin", false)}
	want := map[Kind][]row{
		ClientFirst:    {first},
		ServerFirst:    {{client("peer", "fin", false), server("local", "close", true)}},
		HalfClose:      {{client("local", "shutdown", true), server("peer", "fin", false)}},
		Simultaneous:   {{client("both", "close", true), nil}},
		OrphanFinWait2: {{&fate{Comm: "demo-client", Closer: "local", Method: "close", Orphan: true}, server("peer", "fin", false)}},
		Linger0:        {{client("local", "linger0", false), server("peer", "rst", false)}},
		Linger0Server:  {{client("peer", "rst", false), server("local", "linger0", false)}},
		UnreadData:     {{client("local", "unread_data", false), server("peer", "rst", false)}},
		Sigkill:        {{&fate{Comm: "demo-victim", Closer: "local", Method: "exit", TimeWait: true}, server("peer", "fin", false)}},
		ForkChild:      {{client("local", "close", true), &fate{Comm: "demo-child", Closer: "peer", Method: "fin"}}},
		Thread:         {first},
		PeerRST:        {{client("peer", "rst", false), nil}},
		Timeout:        {{client("kernel", "timeout", false), nil}},
		Abort:          {{client("kernel", "abort", false), server("peer", "rst", false)}},
		TWReused:       {{end(client("local", "close", true), "reused_by_connect"), server("peer", "fin", false)}, first},
		TWSyn:          {{client("peer", "fin", false), end(server("local", "close", true), "reused_by_syn")}, first},
		TWRst:          {{end(client("local", "close", true), "reset"), nil}},
		TWFinAgain:     {{&fate{Comm: "demo-client", Closer: "local", Method: "close", TimeWait: true, Restarts: 1}, nil}},
		TWOverflow:     {{end(client("local", "close", false), "overflow"), server("peer", "fin", false)}},
		NoPort:         {first, {client("", "", false), nil}},
		Refused:        {{client("", "", false), nil}},
		IPv6:           {first},
		V4Mapped:       {first},
	}
	lab, ctx := newLab(t, Options{})
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			began := time.Now()
			ledger, err := lab.Run(ctx, k)
			if errors.Is(err, errors.ErrUnsupported) && os.Getenv("FINWAIT_REQUIRE_KERNEL") != "1" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []row
			for _, c := range ledger.Closes {
				if c.Kind != k {
					t.Errorf("kind %s, want %s", c.Kind, k)
				}
				got = append(got, row{fateOf(c.Client), fateOf(c.Server)})
				t.Logf("%v %+v %+v %s", time.Since(began).Round(time.Microsecond), c.Client, c.Server, c.ConnectError)
			}
			if diff := cmp.Diff(want[k], got); diff != "" {
				t.Errorf("rows differ (-want +got):\n%s", diff)
			}
			checkCounters(t, ledger)
		})
	}
}

func TestStorm(t *testing.T) {
	lab, ctx := newLab(t, Options{Seed: 1})
	for _, n := range []int{1, 500, 20000} {
		began := time.Now()
		ledger, err := lab.Storm(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(ledger.Closes) != n {
			t.Errorf("%d rows, want %d", len(ledger.Closes), n)
		}
		checkCounters(t, ledger)
		t.Logf("%d closes in %v: %+v", n, time.Since(began), ledger.Kernel())
	}
}

// A run that is cut short must end soon, and Close must leave nobody behind.
func TestCancelAndClose(t *testing.T) {
	lab, ctx := newLab(t, Options{Workers: 2})
	if _, err := lab.Storm(ctx, 100); err != nil {
		t.Fatal(err)
	}
	pids := lab.PIDs()
	if len(pids) != 5 {
		t.Errorf("%d workers, want 5", len(pids))
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := lab.Storm(ctx, 10_000_000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("storm gives %v, want the deadline's error", err)
	}
	if _, err := lab.Run(ctx, ClientFirst); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run gives %v, want the deadline's error", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a deadline of 100 ms took %v", took)
	}
	if err := lab.Close(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("worker %d: %v, want no such process", pid, err)
		}
	}
}
