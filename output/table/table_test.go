// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

var update = flag.Bool("update", false, "write the goldens under testdata/table anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("..", "..", "testdata", "table", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run this test with -update", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

var (
	clock = event.Clock{Offset: 1_700_000_000_000_000_000}
	utc   = Options{Header: true, Zone: time.UTC}

	nginx = event.Process{PID: 812, UID: 33, Comm: event.MakeComm("nginx"), Container: "0123456789abcdef0123456789abcdef"}
	curl  = event.Process{PID: 99, UID: 1000, Comm: event.MakeComm("curl")}
	wide4 = event.Socket{
		Cookie: 1, NetNS: 4026531840, Family: 4, Role: event.Client,
		Local: netip.MustParseAddrPort("10.0.0.4:51324"), Peer: netip.MustParseAddrPort("10.0.3.7:8080"),
	}
	long6 = event.Socket{
		Cookie: 2, NetNS: 4026531999, Family: 6, Role: event.Server,
		Local: netip.MustParseAddrPort("[2001:db8:1:2:3:4:5:6]:443"), Peer: netip.MustParseAddrPort("[2001:db8::2]:40000"),
	}
)

// step is a transition of nginx's client connection, changed as the case needs.
func step(at time.Duration, old, state event.State, d time.Duration, change func(*event.Transition)) *event.Transition {
	t := &event.Transition{
		KTime: int64(at), Socket: wide4, Old: old, New: state, Duration: d, Process: nginx, Attribution: event.Cached,
		Closer: event.CloserLocal, Method: event.MethodClose, Idle: event.Unknown, Unread: event.Unknown,
		BytesSent: 100, BytesReceived: 20000, Timestamps: 1,
	}
	if change != nil {
		change(t)
	}
	return t
}

func over(i event.TimeWaitInfo) func(*event.Transition) {
	return func(t *event.Transition) { t.TimeWait = &i }
}

const second = time.Second

// story is every kind of line that a note exists for.
func story() []*event.Transition {
	type tr = event.Transition
	call := func(m event.Method) func(*tr) {
		return func(t *tr) { t.Call, t.Method, t.Attribution = m, m, event.Exact }
	}
	orphan := func(r event.EndReason) func(*tr) { return func(t *tr) { t.Orphan = r } }
	died := func(c event.Closer, m event.Method, errno uint16) func(*tr) {
		return func(t *tr) { t.Closer, t.Method, t.Errno = c, m, errno }
	}
	return []*tr{
		step(1*second, event.Established, event.FinWait1, 31200*time.Microsecond, call(event.MethodClose)),
		step(1*second, event.FinWait1, event.FinWait2, 700*time.Microsecond, nil),
		step(1*second, event.FinWait2, event.TimeWait, 1900*time.Microsecond, nil),
		step(62*second, event.TimeWait, event.Close, 61068200*time.Microsecond, over(event.TimeWaitInfo{End: event.EndExpired, Late: 1068 * time.Millisecond})),
		step(62*second, event.TimeWait, event.Close, 61068200*time.Microsecond, over(event.TimeWaitInfo{End: event.EndExpired, Late: event.Unknown, Restarts: 2, Inferred: true})),
		step(62*second, event.TimeWait, event.Close, second, over(event.TimeWaitInfo{End: event.EndReusedByConnect, Late: event.Unknown, Successor: curl})),
		step(62*second, event.TimeWait, event.Close, second, over(event.TimeWaitInfo{End: event.EndReusedBySyn, Late: event.Unknown})),
		step(62*second, event.TimeWait, event.Close, second, over(event.TimeWaitInfo{End: event.EndReset, Late: event.Unknown})),
		step(62*second, event.TimeWait, event.Close, second, over(event.TimeWaitInfo{End: event.EndNamespaceExit, Late: event.Unknown})),
		step(62*second, event.TimeWait, event.Close, second, over(event.TimeWaitInfo{End: event.EndOpen, Late: event.Unknown})),
		step(62*second, event.TimeWait, event.Close, event.Unknown, over(event.TimeWaitInfo{End: event.EndUnknown, Late: event.Unknown})),
		step(63*second, event.FinWait2, event.Close, second, over(event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown})),
		step(63*second, event.FinWait2, event.Close, 60*second, orphan(event.EndExpired)),
		step(63*second, event.FinWait2, event.Close, 2*second, orphan(event.EndReset)),
		step(63*second, event.FinWait2, event.Close, 2*second, orphan(event.EndOpen)),
		step(63*second, event.FinWait2, event.Close, 2*second, orphan(event.EndNamespaceExit)),
		step(63*second, event.FinWait2, event.Close, 2*second, orphan(event.EndUnknown)),
		step(64*second, event.Established, event.FinWait1, second, call(event.MethodShutdown)),
		step(64*second, event.Established, event.FinWait1, second, func(t *tr) { call(event.MethodExit)(t); t.Process.Signal = 9 }),
		step(64*second, event.Established, event.FinWait1, second, func(t *tr) { call(event.MethodExit)(t); t.Process.Signal = 64 }),
		step(64*second, event.Established, event.Close, second, call(event.MethodLinger0)),
		step(64*second, event.Established, event.Close, second, func(t *tr) { call(event.MethodUnreadData)(t); t.Unread = 1 }),
		step(64*second, event.Established, event.Close, second, func(t *tr) { call(event.MethodUnreadData)(t); t.Unread = 77 }),
		step(64*second, event.Established, event.Close, second, call(event.MethodUnreadData)),
		step(64*second, event.Established, event.Close, second, call(event.MethodDisconnect)),
		step(64*second, event.FinWait2, event.Close, second, call(event.MethodLinger2)),
		step(64*second, event.FinWait2, event.Close, second, call(event.MethodDataAfterClose)),
		step(65*second, event.Established, event.Close, second, func(t *tr) { t.Method, t.Role = event.MethodListener, event.RoleUnknown }),
		step(65*second, event.Established, event.Close, second, died(event.CloserPeer, event.MethodRst, 104)),
		step(65*second, event.Established, event.Close, second, func(t *tr) { died(event.CloserPeer, event.MethodRst, 104)(t); t.PeerProcess = curl }),
		step(65*second, event.CloseWait, event.Close, second, died(event.CloserPeer, event.MethodFin, 32)),
		step(65*second, event.Established, event.Close, 900*second, died(event.CloserKernel, event.MethodTimeout, 110)),
		step(65*second, event.Established, event.Close, second, died(event.CloserKernel, event.MethodAbort, 103)),
		step(66*second, event.Established, event.CloseWait, second, func(t *tr) {
			t.Socket, t.Closer, t.Method, t.PeerProcess = long6, event.CloserPeer, event.MethodFin, curl
		}),
		step(66*second, event.Established, event.CloseWait, event.Unknown, func(t *tr) {
			t.Socket, t.Closer, t.Method, t.Process, t.Attribution, t.Existed = long6, event.CloserPeer, event.MethodFin, event.Process{}, event.AttributionUnknown, true
			t.BytesSent, t.BytesReceived = event.Unknown, event.Unknown
		}),
		step(66*second, event.CloseWait, event.LastAck, second, func(t *tr) {
			t.Socket, t.Closer, t.Method, t.Call = long6, event.CloserPeer, event.MethodFin, event.MethodClose
		}),
		step(66*second, event.FinWait1, event.Closing, time.Microsecond, func(t *tr) { t.Closer = event.CloserBoth }),
		step(66*second, event.LastAck, event.Close, second, func(t *tr) { t.Closer, t.Incomplete = event.CloserPeer, true }),
		step(67*second, event.SynSent, event.Close, time.Millisecond, func(t *tr) {
			t.Closer, t.Method, t.Errno, t.Local = 0, 0, 99, netip.AddrPortFrom(t.Local.Addr(), 0)
		}),
		step(67*second, event.SynSent, event.Close, time.Millisecond, died(0, 0, 111)),
		step(67*second, event.SynSent, event.Close, time.Millisecond, func(t *tr) { t.Closer, t.Method, t.Call = 0, 0, event.MethodClose }),
		step(67*second, event.SynRecv, event.FinWait1, time.Millisecond, call(event.MethodClose)),
	}
}

func writeStory(t *testing.T, w *Writer) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tr := range story() {
		check(w.Transition(tr))
	}
	check(w.ConnectError(&event.ConnectError{KTime: int64(68 * second), Socket: wide4, Process: curl, Errno: 111})) // said by its transition
	noPeer := wide4
	noPeer.Peer = netip.AddrPortFrom(noPeer.Peer.Addr(), 0)
	check(w.ConnectError(&event.ConnectError{KTime: int64(68 * second), Socket: noPeer, Process: curl, Errno: 99}))
	check(w.Release(&event.Release{KTime: int64(69 * second), Socket: wide4, Process: nginx, Held: 2 * second}))
	check(w.Release(&event.Release{KTime: int64(69 * second), Socket: wide4, Process: nginx, Held: event.Unknown}))
	check(w.Loss(&event.Loss{KTime: int64(70 * second), Reason: event.LossRingFull, Count: 12}))
}

func TestTransitions(t *testing.T) {
	for name, opt := range map[string]Options{
		"transitions":           utc,
		"transitions-wide":      {Header: true, Wide: true, Zone: time.UTC},
		"transitions-color":     {Header: true, Color: true, Zone: time.UTC},
		"transitions-no-header": {Zone: time.FixedZone("east", 2*3600)},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			writeStory(t, New(&b, clock, opt))
			golden(t, name, b.Bytes())
		})
	}
}

func TestCloses(t *testing.T) {
	known := func(change func(*event.CloseRecord)) *event.CloseRecord {
		c := &event.CloseRecord{
			KTime: int64(second), Socket: wide4, Process: nginx, Attribution: event.Exact, Closer: event.CloserLocal, Method: event.MethodClose,
			Idle: event.Unknown, Unread: event.Unknown, BytesSent: 5, BytesReceived: 6,
		}
		for i := range c.States {
			c.States[i] = event.Unknown
		}
		c.States[event.Established] = 31200 * time.Microsecond
		change(c)
		return c
	}
	records := []*event.CloseRecord{
		known(func(c *event.CloseRecord) {
			c.States[event.FinWait1], c.States[event.FinWait2], c.States[event.TimeWait] = time.Millisecond, 2*time.Millisecond, 61*second
			c.TimeWait = &event.TimeWaitInfo{End: event.EndExpired, Late: second}
			c.PeerProcess = curl
		}),
		known(func(c *event.CloseRecord) {
			c.Socket, c.Closer, c.Method, c.Process = long6, event.CloserPeer, event.MethodFin, event.Process{}
			c.States[event.Established], c.States[event.CloseWait], c.States[event.LastAck] = event.Unknown, second, time.Millisecond
			c.BytesSent, c.BytesReceived, c.Incomplete = event.Unknown, event.Unknown, true
		}),
		known(func(c *event.CloseRecord) { c.Closer, c.Method, c.Errno = event.CloserPeer, event.MethodRst, 104 }),
		known(func(c *event.CloseRecord) { c.Orphan = event.EndExpired; c.States[event.FinWait2] = 60 * second }),
		known(func(c *event.CloseRecord) {
			c.TimeWait = &event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown}
		}),
		known(func(c *event.CloseRecord) { c.Closer, c.Method = event.CloserUnknown, event.MethodUnknown }),
	}
	for name, wide := range map[string]bool{"closes": false, "closes-wide": true} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w := NewCloses(&b, clock, Options{Header: true, Wide: wide, Zone: time.UTC})
			for _, c := range records {
				if err := w.Close(c); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, name, b.Bytes())
		})
	}
}

// TestHostileNames: whatever a process calls itself, the terminal gets printable text in one line.
func TestHostileNames(t *testing.T) {
	for _, name := range []string{
		"\x1b[2J\x1b[31m", "a\nb\rc\td", "\x00hidden", "\x7f\x08\x07", "\xff\xfe\xc3", "\u009b31m", "\u202eevil", "\u2028\u2029\u00a0", "%s%n\\", "日本語", "\x1b]0;t\x07\x1b\\",
	} {
		var c event.Comm
		copy(c[:], name)
		var b bytes.Buffer
		w := New(&b, clock, Options{Wide: true, Zone: time.UTC})
		p := event.Process{PID: 1, Comm: c, Thread: c}
		tr := step(second, event.TimeWait, event.Close, second, over(event.TimeWaitInfo{End: event.EndReusedByConnect, Successor: p}))
		tr.Process, tr.PeerProcess = p, p
		if err := w.Transition(tr); err != nil {
			t.Fatal(err)
		}
		if err := w.Release(&event.Release{Socket: wide4, Process: p}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(b.String(), "\n")
		if len(lines) != 3 {
			t.Errorf("%q: %d lines", name, len(lines)-1)
		}
		for _, line := range lines {
			for _, r := range line {
				if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
					t.Errorf("%q: %U in %q", name, r, line)
				}
			}
		}
	}
}

// TestColumnsGrow: a table that is still being written cannot know its widest line, so
// it gets wider where it must, and never narrower.
func TestColumnsGrow(t *testing.T) {
	var b bytes.Buffer
	w := New(&b, clock, utc)
	short := step(second, event.Established, event.CloseWait, second, nil)
	long := step(second, event.Established, event.CloseWait, 1000000*second, func(t *event.Transition) { t.Socket = long6 })
	for _, tr := range []*event.Transition{short, long, short} {
		if err := w.Transition(tr); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines, want 4:\n%s", len(lines), b.String())
	}
	at := func(line, text string) int {
		i := strings.Index(line, text)
		return len([]rune(line[:max(i, 0)])) // columns, not bytes: the arrow has three
	}
	for _, text := range []string{"ESTABLISHED", "peer closed first"} {
		before, wide, after := at(lines[1], text), at(lines[2], text), at(lines[3], text)
		if before >= wide || wide != after {
			t.Errorf("%q begins at %d, then %d, then %d: want it to move once, and stay", text, before, wide, after)
		}
	}
	if head, first := at(lines[0], "TRANSITION"), at(lines[1], "ESTABLISHED"); head != first {
		t.Errorf("the heading is at %d, its column at %d", head, first)
	}
	for _, line := range lines {
		if strings.TrimRight(line, " ") != line {
			t.Errorf("blanks at the end of %q", line)
		}
	}
}

type broken struct{}

var errGone = errors.New("gone")

func (broken) Write([]byte) (int, error) { return 0, errGone }

func TestWriteError(t *testing.T) {
	w := New(broken{}, clock, Options{Zone: time.UTC})
	noPeer := event.ConnectError{Socket: event.Socket{Local: wide4.Local, Peer: netip.AddrPortFrom(wide4.Peer.Addr(), 0)}}
	for name, err := range map[string]error{
		"transition": w.Transition(story()[0]), "connect error": w.ConnectError(&noPeer), "release": w.Release(&event.Release{}),
		"loss": w.Loss(&event.Loss{}), "close": NewCloses(broken{}, clock, utc).Close(&event.CloseRecord{}),
		"header": New(broken{}, clock, utc).Transition(story()[0]),
	} {
		if !errors.Is(err, errGone) {
			t.Errorf("%s: error = %v, want the writer's", name, err)
		}
	}
}
