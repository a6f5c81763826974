// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// doubted returns the one doubt about a socket.
func doubted(t *testing.T, f *Flow, cookie uint64) Doubt {
	t.Helper()
	for _, d := range f.Doubts() {
		if d.Cookie == cookie {
			return d
		}
	}
	t.Fatalf("no doubt about socket %d", cookie)
	return Doubt{}
}

// TestEnded: what the kernel does not have any more is over; when and why is not guessed.
func TestEnded(t *testing.T) {
	out := &trace{}
	f := New(out, Options{Tick: tick})
	run(t, f, 1, []event.Sample{
		client.step(10, event.Established, event.FinWait1, flags(closing), by(5)),
		client.step(11, event.FinWait1, event.FinWait2),
		client.armed(12, event.TimeWait, 60012),
		client.step(12, event.FinWait2, event.Close),
		server.step(13, event.Established, event.CloseWait),
	})
	mini, full := doubted(t, f, client.cookie), doubted(t, f, server.cookie)
	f.Lossy()
	n := len(out.lines)
	for range 2 { // the second time there is nothing left to end
		for _, d := range []Doubt{mini, full} {
			if err := f.Ended(d, ktime(500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"500 1 TIME_WAIT→CLOSE ? local by close [unknown ?] incomplete",
		"500 2 CLOSE_WAIT→CLOSE ? peer by fin incomplete",
	}
	if diff := cmp.Diff(want, out.lines[n:]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := f.Stats(); s.Unseen != 2 || s.TimeWaits != 0 || s.Conns != 0 {
		t.Errorf("%+v", s)
	}
	if held := leftovers(f); len(held) > 0 {
		t.Errorf("held: %v", held)
	}
}

// TestEndedSince: between the look and its verdict, the end has come, and another connection
// has taken the place.
func TestEndedSince(t *testing.T) {
	out := &trace{}
	f := New(out, Options{Tick: tick})
	run(t, f, 1, []event.Sample{client.armed(12, event.TimeWait, 60012), client.step(12, event.FinWait2, event.Close)})
	d := doubted(t, f, client.cookie)
	run(t, f, 1, []event.Sample{
		client.dead(100, event.TimeWait, 60012, reason(event.ReasonReset)),
		client.with(func(e *end) { e.cookie = 77 }).armed(200, event.TimeWait, 60200), // at the same address
	})
	n := len(out.lines)
	if err := f.Ended(d, ktime(300)); err != nil {
		t.Fatal(err)
	}
	if len(out.lines) != n || f.Stats().TimeWaits != 1 || f.Stats().Unseen != 0 {
		t.Errorf("another connection is ended: %q, %+v", out.lines[n:], f.Stats())
	}
}

// TestLossyAbsence: a FIN_WAIT2 that goes to CLOSE without a mini-socket has met data after
// close(), unless the birth of the mini-socket may be among what is lost.
func TestLossyAbsence(t *testing.T) {
	for _, tc := range []struct {
		lossy bool
		call  event.Method
	}{{false, event.MethodDataAfterClose}, {true, event.MethodUnknown}} {
		out := &trace{}
		f := New(out, Options{Tick: tick})
		if tc.lossy {
			f.Lossy()
		}
		run(t, f, 1, []event.Sample{
			client.step(10, event.Established, event.FinWait1, flags(closing), by(5)),
			client.step(11, event.FinWait1, event.FinWait2, flags(event.FlagOrphan)),
			client.step(12, event.FinWait2, event.Close, flags(event.FlagOrphan)),
		})
		if out.last.Call != tc.call || out.last.Incomplete != tc.lossy {
			t.Errorf("lossy %v: %s", tc.lossy, line(&out.last))
		}
		if f.Whole(); f.lossy {
			t.Error("it stays in doubt")
		}
	}
}

// TestSeenAfterLoss: a TIME_WAIT that is listed after a loss is not older than the trace.
func TestSeenAfterLoss(t *testing.T) {
	out := &trace{}
	f := New(out, Options{Tick: tick})
	f.Lossy()
	run(t, f, 1, []event.Sample{
		client.mini(100, event.KindMiniSeen, event.TimeWait, 50000),
		client.dead(200, event.TimeWait, 50000, reason(event.ReasonReset)),
	})
	if out.last.Existed || !out.last.Incomplete || out.last.TimeWait == nil || out.last.TimeWait.End != event.EndReset {
		t.Errorf("%s", line(&out.last))
	}
}
