// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

var clock = event.Clock{Offset: 1_700_000_000_000_000_000}

func rawComm(s string) (c event.Comm) {
	copy(c[:], s) // unlike MakeComm: all 16 bytes
	return c
}

var (
	socket4 = event.Socket{
		Cookie: 1<<63 + 1, NetNS: 4026531840, Family: 4, Role: event.Client,
		Local: netip.MustParseAddrPort("10.0.0.4:51324"), Peer: netip.MustParseAddrPort("10.0.3.7:8080"),
	}
	nginx = event.Process{
		PID: 812, TID: 813, UID: 33, StartNS: 1<<60 + 1, Comm: event.MakeComm("nginx"), Thread: event.MakeComm("worker"),
		Exe: "/usr/sbin/nginx", Cgroup: "/system.slice/nginx.service", Container: "abc", Signal: 9,
	}
	curl = event.Process{PID: 99, TID: 99, StartNS: 5, Comm: event.MakeComm("curl"), Thread: event.MakeComm("curl")}
)

// full is a transition of which everything is known.
func full() *event.Transition {
	return &event.Transition{
		KTime: 1_000_000_001, Socket: socket4, Old: event.TimeWait, New: event.Close, Duration: 61068200000,
		Process: nginx, Attribution: event.Cached, PeerProcess: curl, Closer: event.CloserLocal, Method: event.MethodClose,
		Call: event.MethodShutdown, Idle: 4000000, Unread: 0, BytesSent: 1 << 60, BytesReceived: 0, Timestamps: 1, Errno: 104,
		TimeWait: &event.TimeWaitInfo{
			Duration: 61068200000, End: event.EndReusedByConnect, Restarts: 2, Late: -4000000, Inferred: true,
			SuccessorCookie: 1<<63 + 2, Successor: curl,
		},
		Orphan: event.EndReset, Existed: true, Incomplete: true,
	}
}

// bare is a transition of which nothing is known that need not be.
func bare() *event.Transition {
	return &event.Transition{
		KTime: 1, Old: event.Established, New: event.CloseWait,
		Socket:   event.Socket{Family: 6, Local: netip.MustParseAddrPort("[2001:db8::1]:1"), Peer: netip.MustParseAddrPort("[2001:db8::2]:2")},
		Duration: event.Unknown, Idle: event.Unknown, Unread: event.Unknown, BytesSent: event.Unknown, BytesReceived: event.Unknown, Timestamps: event.Unknown,
	}
}

func one(t *testing.T, write func(*Writer) error) map[string]any {
	t.Helper()
	var b bytes.Buffer
	if err := write(New(&b, clock)); err != nil {
		t.Fatal(err)
	}
	line := b.String()
	if !strings.HasSuffix(line, "}\n") || strings.Count(line, "\n") != 1 {
		t.Errorf("not one line: %q", line)
	}
	dec := json.NewDecoder(strings.NewReader(line))
	dec.UseNumber()
	var got map[string]any
	if err := dec.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return got
}

// parsed is what a reader makes of the JSON text.
func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRecords(t *testing.T) {
	states := event.CloseRecord{
		KTime: 1, Socket: socket4, Closer: event.CloserPeer, Method: event.MethodRst, Errno: 32,
		Idle: event.Unknown, Unread: event.Unknown, BytesSent: 0, BytesReceived: event.Unknown, Timestamps: 0,
		TimeWait: &event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown},
	}
	for i := range states.States {
		states.States[i] = event.Unknown
	}
	states.States[event.Established], states.States[event.CloseWait] = 5, 0
	for _, tc := range []struct {
		name  string
		write func(*Writer) error
		want  string
	}{
		{"transition, everything known", func(w *Writer) error { return w.Transition(full()) }, `{
			"type":"transition","schema_version":1,"timestamp":"2023-11-14T22:13:21.000000001Z","ktime_ns":1000000001,
			"socket":{"cookie":"9223372036854775809"},"netns":{"inode":4026531840},"network_type":"ipv4",
			"local":{"address":"10.0.0.4","port":51324},"peer":{"address":"10.0.3.7","port":8080},"role":"client",
			"old_state":"TIME_WAIT","new_state":"CLOSE","duration_ns":61068200000,
			"process":{"pid":812,"tid":813,"comm":"nginx","thread":"worker","uid":33,"start_ns":"1152921504606846977","exe":"/usr/sbin/nginx",
				"cgroup":"/system.slice/nginx.service","container":{"id":"abc"},"signal":9},
			"attribution":"cached","peer_process":{"pid":99,"tid":99,"comm":"curl","thread":"curl","uid":0,"start_ns":"5"},
			"closer":"local","method":"close","call":"shutdown",
			"time_wait":{"duration_ns":61068200000,"end_reason":"reused_by_connect","restarts":2,"late_ns":-4000000,"inferred":true,
				"successor":{"cookie":"9223372036854775810","process":{"pid":99,"tid":99,"comm":"curl","thread":"curl","uid":0,"start_ns":"5"}}},
			"idle_ns":4000000,"unread_bytes":0,"bytes_sent":1152921504606846976,"bytes_received":0,"timestamps":true,
			"error":"ECONNRESET","orphan_end_reason":"reset","existed":true,"incomplete":true}`},
		{"transition, nothing known", func(w *Writer) error { return w.Transition(bare()) }, `{
			"type":"transition","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,"network_type":"ipv6",
			"local":{"address":"2001:db8::1","port":1},"peer":{"address":"2001:db8::2","port":2},
			"old_state":"ESTABLISHED","new_state":"CLOSE_WAIT","attribution":"unknown"}`},
		{"a TIME_WAIT of which only the end is known", func(w *Writer) error {
			tr := bare()
			tr.TimeWait = &event.TimeWaitInfo{Duration: event.Unknown, End: event.EndExpired, Late: 0}
			return w.Transition(tr)
		}, `{
			"type":"transition","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,"network_type":"ipv6",
			"local":{"address":"2001:db8::1","port":1},"peer":{"address":"2001:db8::2","port":2},
			"old_state":"ESTABLISHED","new_state":"CLOSE_WAIT","attribution":"unknown",
			"time_wait":{"end_reason":"expired","restarts":0,"late_ns":0}}`},
		{"connect error", func(w *Writer) error {
			s := socket4
			s.Peer = netip.AddrPortFrom(s.Peer.Addr(), 0)
			return w.ConnectError(&event.ConnectError{KTime: 1, Socket: s, Process: curl, Errno: 99})
		}, `{
			"type":"connect_error","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,
			"socket":{"cookie":"9223372036854775809"},"netns":{"inode":4026531840},"network_type":"ipv4",
			"local":{"address":"10.0.0.4","port":51324},"role":"client",
			"process":{"pid":99,"tid":99,"comm":"curl","thread":"curl","uid":0,"start_ns":"5"},"error":"EADDRNOTAVAIL"}`},
		{"connect error without a number", func(w *Writer) error {
			return w.ConnectError(&event.ConnectError{KTime: 1, Socket: bare().Socket})
		}, `{
			"type":"connect_error","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,"network_type":"ipv6",
			"local":{"address":"2001:db8::1","port":1},"peer":{"address":"2001:db8::2","port":2}}`},
		{"release", func(w *Writer) error {
			return w.Release(&event.Release{KTime: 1, Socket: bare().Socket, Process: curl, Held: 7})
		}, `{
			"type":"release","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,"network_type":"ipv6",
			"local":{"address":"2001:db8::1","port":1},"peer":{"address":"2001:db8::2","port":2},
			"process":{"pid":99,"tid":99,"comm":"curl","thread":"curl","uid":0,"start_ns":"5"},"attribution":"exact","held_ns":7}`},
		{"close", func(w *Writer) error { return w.Close(&states) }, `{
			"type":"close","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,
			"socket":{"cookie":"9223372036854775809"},"netns":{"inode":4026531840},"network_type":"ipv4",
			"local":{"address":"10.0.0.4","port":51324},"peer":{"address":"10.0.3.7","port":8080},"role":"client",
			"attribution":"unknown","closer":"peer","method":"rst","states":{"ESTABLISHED":5,"CLOSE_WAIT":0},
			"time_wait":{"end_reason":"overflow"},"bytes_sent":0,"timestamps":false,"error":"EPIPE"}`},
		{"loss", func(w *Writer) error {
			return w.Loss(&event.Loss{KTime: 1, Since: 1_000_000_000, Reason: event.LossRingFull, Count: 1 << 40})
		}, `{
			"type":"loss","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,
			"reason":"ring_full","count":1099511627776,"since":"2023-11-14T22:13:21.000000000Z"}`},
		{"trace start", func(w *Writer) error {
			return w.Start(&event.Start{
				KTime: 1, Clock: clock, Version: "1", CommandLine: []string{"finwait", "-o", "a \"b\"\n"}, Host: "h", Kernel: "6.1", Arch: "amd64",
				BootID: "b", Tick: 4 * time.Millisecond, Probe: "timer", ProbeReason: "refused",
				Hooks: []event.Hook{{Name: "a", Attached: "tp"}, {Name: "b", Lost: "much", Error: "why"}},
				Namespaces: []event.Namespace{
					{Inode: 1, Settings: map[string]string{"tcp_tw_reuse": "2", "tcp_fin_timeout": "60"}}, {Inode: 2},
				},
				Sockets: 3, TimeWaits: 4,
			})
		}, `{
			"type":"trace_start","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,"version":"1",
			"command_line":["finwait","-o","a \"b\"\n"],"host":"h","kernel":"6.1","arch":"amd64","boot_id":"b","hz":250,
			"clock_offset_ns":1700000000000000000,"time_wait_probe":"timer","time_wait_probe_reason":"refused",
			"hooks":[{"name":"a","attached":"tp"},{"name":"b","lost":"much","error":"why"}],
			"namespaces":[{"inode":1,"tcp_fin_timeout":"60","tcp_tw_reuse":"2"},{"inode":2}],
			"existing":{"sockets":3,"time_waits":4}}`},
		{"trace start, nothing known", func(w *Writer) error { return w.Start(&event.Start{}) }, `{
			"type":"trace_start","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000000Z","ktime_ns":0,"version":"",
			"command_line":[],"host":"","kernel":"","arch":"","boot_id":"","clock_offset_ns":0,"time_wait_probe":"",
			"hooks":[],"namespaces":[],"existing":{"sockets":0,"time_waits":0}}`},
		{"trace end", func(w *Writer) error {
			return w.End(&event.End{
				KTime: 1, Elapsed: 5, Transitions: 1, Closes: 2, Errors: 3, Born: 4, Open: 5, PickedUp: 6,
				Lost: map[event.LossReason]uint64{event.LossMapFull: 7},
			})
		}, `{
			"type":"trace_end","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000001Z","ktime_ns":1,"elapsed_ns":5,
			"totals":{"transitions":1,"closes":2,"connect_errors":3,"time_waits_born":4,"time_waits_open":5,"picked_up":6},
			"lost":{"recursion":0,"map_full":7,"ring_full":0,"bad_record":0,"evicted":0},"complete":false}`},
		{"trace end, nothing lost", func(w *Writer) error { return w.End(&event.End{}) }, `{
			"type":"trace_end","schema_version":1,"timestamp":"2023-11-14T22:13:20.000000000Z","ktime_ns":0,"elapsed_ns":0,
			"totals":{"transitions":0,"closes":0,"connect_errors":0,"time_waits_born":0,"time_waits_open":0,"picked_up":0},
			"lost":{"recursion":0,"map_full":0,"ring_full":0,"bad_record":0,"evicted":0},"complete":true}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(parsed(t, tc.want), one(t, tc.write)); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHostileNames: a process may call itself anything; the line stays one line of JSON,
// and nothing in it moves a terminal.
func TestHostileNames(t *testing.T) {
	for _, tc := range []struct{ name, comm, want string }{
		{"quotes", `a"b\c`, `a"b\c`},
		{"escape sequence", "\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"},
		{"controls", "\x01\t\n\r\x7f", "\x01\t\n\r\x7f"},
		{"invalid UTF-8", "a\xff\xfeb", "a\uFFFD\uFFFDb"},
		{"cut in the middle of a rune", "aaaaaaaaaaaaaa\xc3", "aaaaaaaaaaaaaa\uFFFD"},
		{"overlong", "\xc0\xaf", "\uFFFD\uFFFD"},
		{"surrogate", "\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
		{"ends at NUL", "ab\x00\x1bcd", "ab"},
		{"sixteen bytes, no NUL", "0123456789abcdef", "0123456789abcdef"},
		{"8-bit controls", "\u009b31m\u0085\u009d", "\u009b31m\u0085\u009d"},
		{"umlauts and wide runes", "größe日本", "größe日本"},
		{"empty", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tr := full()
			tr.Process.Comm, tr.Process.Thread = rawComm(tc.comm), rawComm(tc.comm)
			tr.Process.Exe = "/bin/" + tc.comm
			var b bytes.Buffer
			if err := New(&b, clock).Transition(tr); err != nil {
				t.Fatal(err)
			}
			line := strings.TrimSuffix(b.String(), "\n")
			if !utf8.ValidString(line) {
				t.Errorf("not UTF-8: %q", line)
			}
			if i := strings.IndexFunc(line, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }); i >= 0 {
				t.Errorf("a control character at %d: %q", i, line)
			}
			var got struct {
				Process struct{ Comm, Thread string }
			}
			if err := json.Unmarshal([]byte(line), &got); err != nil {
				t.Fatalf("%v: %q", err, line)
			}
			if got.Process.Comm != tc.want || got.Process.Thread != tc.want {
				t.Errorf("comm, thread = %q, %q; want %q", got.Process.Comm, got.Process.Thread, tc.want)
			}
		})
	}
}

// TestUnknownIsAbsent: every field of a bare transition that is filled in brings exactly its own key.
func TestUnknownIsAbsent(t *testing.T) {
	keys := func(tr *event.Transition) (k []string) {
		for name := range one(t, func(w *Writer) error { return w.Transition(tr) }) {
			k = append(k, name)
		}
		slices.Sort(k)
		return k
	}
	before := keys(bare())
	for want, set := range map[string]func(*event.Transition){
		"socket":            func(t *event.Transition) { t.Cookie = 1 },
		"netns":             func(t *event.Transition) { t.NetNS = 1 },
		"role":              func(t *event.Transition) { t.Role = event.Server },
		"duration_ns":       func(t *event.Transition) { t.Duration = 0 },
		"process":           func(t *event.Transition) { t.Process.PID = 1 },
		"peer_process":      func(t *event.Transition) { t.PeerProcess.PID = 1 },
		"closer":            func(t *event.Transition) { t.Closer = event.CloserBoth },
		"method":            func(t *event.Transition) { t.Method = event.MethodFin },
		"call":              func(t *event.Transition) { t.Call = event.MethodClose },
		"time_wait":         func(t *event.Transition) { t.TimeWait = &event.TimeWaitInfo{End: event.EndOpen} },
		"idle_ns":           func(t *event.Transition) { t.Idle = 0 },
		"unread_bytes":      func(t *event.Transition) { t.Unread = 0 },
		"bytes_sent":        func(t *event.Transition) { t.BytesSent = 0 },
		"bytes_received":    func(t *event.Transition) { t.BytesReceived = 0 },
		"timestamps":        func(t *event.Transition) { t.Timestamps = 0 },
		"error":             func(t *event.Transition) { t.Errno = 1 },
		"orphan_end_reason": func(t *event.Transition) { t.Orphan = event.EndExpired },
		"existed":           func(t *event.Transition) { t.Existed = true },
		"incomplete":        func(t *event.Transition) { t.Incomplete = true },
	} {
		tr := bare()
		set(tr)
		after := append([]string{want}, before...)
		slices.Sort(after)
		if diff := cmp.Diff(after, keys(tr)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want, diff)
		}
	}
}

func TestTransitionDoesNotAllocate(t *testing.T) {
	w := New(io.Discard, clock)
	for name, tr := range map[string]*event.Transition{"full": full(), "bare": bare()} {
		if n := testing.AllocsPerRun(100, func() {
			if err := w.Transition(tr); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

type broken struct{}

var errFull = errors.New("disk full")

func (broken) Write([]byte) (int, error) { return 0, errFull }

func TestWriteError(t *testing.T) {
	w := New(broken{}, clock)
	for name, err := range map[string]error{
		"transition": w.Transition(bare()), "connect_error": w.ConnectError(&event.ConnectError{}), "release": w.Release(&event.Release{}),
		"close": w.Close(&event.CloseRecord{}), "loss": w.Loss(&event.Loss{}), "trace_start": w.Start(&event.Start{}), "trace_end": w.End(&event.End{}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: error = %v, want the writer's", name, err)
		}
	}
}

func FuzzString(f *testing.F) {
	f.Add("nginx")
	f.Add("\x1b]0;title\x07\"\\\xff\u009b")
	f.Fuzz(func(t *testing.T, s string) {
		b := appendString(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v: %q", err, b)
		}
		if want := strings.ToValidUTF8(s, ""); utf8.ValidString(s) && got != want {
			t.Errorf("%q came back as %q", s, got)
		}
		if !bytes.Equal(b, appendString(nil, []byte(s))) {
			t.Errorf("%q: bytes and string differ", s)
		}
	})
}

func BenchmarkTransition(b *testing.B) {
	w, tr := New(io.Discard, clock), full()
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Transition(tr); err != nil {
			b.Fatal(err)
		}
	}
}
