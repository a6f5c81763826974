// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// kept is what a Reader has said, with a copy of each record.
type kept struct {
	records []any
	reader  *Reader
	err     error
}

func read(r io.Reader) (k kept) {
	k.reader = NewReader(r)
	for {
		rec, err := k.reader.Next()
		if err != nil {
			k.err = err
			return k
		}
		switch rec.Type {
		case TypeTransition:
			t := rec.Transition
			if t.TimeWait != nil {
				info := *t.TimeWait
				t.TimeWait = &info
			}
			k.records = append(k.records, t)
		case TypeConnectError:
			k.records = append(k.records, rec.ConnectError)
		case TypeRelease:
			k.records = append(k.records, rec.Release)
		case TypeLoss:
			k.records = append(k.records, rec.Loss)
		case TypeStart:
			k.records = append(k.records, *rec.Start)
		case TypeEnd:
			k.records = append(k.records, *rec.End)
		}
	}
}

func written(t testing.TB, records ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	w := New(&b, clock)
	for _, r := range records {
		var err error
		switch r := r.(type) {
		case event.Transition:
			err = w.Transition(&r)
		case event.ConnectError:
			err = w.ConnectError(&r)
		case event.Release:
			err = w.Release(&r)
		case event.Loss:
			err = w.Loss(&r)
		case event.Start:
			err = w.Start(&r)
		case event.End:
			err = w.End(&r)
		case event.CloseRecord:
			err = w.Close(&r)
		case event.Budget:
			err = w.Budget(&r)
		case event.Seen:
			err = w.Seen(&r)
		default:
			t.Fatalf("no such record: %T", r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

var sameAddress = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// everything is one of each record, full and bare.
func everything() []any {
	pair := func(kernel, ours, unsure int64) event.Counted {
		return event.Counted{Kernel: kernel, Ours: ours, Unsure: unsure}
	}
	counters := event.NewKernelCounters(4026531840)
	counters.Counters[event.CounterTW] = pair(12, 12, 0)
	counters.Counters[event.CounterTWKilled] = pair(0, event.Unknown, 0)
	counters.Counters[event.CounterAbortOnData] = pair(3, 1, 2)
	filtered := event.NewKernelCounters(7)
	filtered.Filtered = true
	filtered.Counters[event.CounterTW] = pair(5, event.Unknown, 0)
	overflow := *bare()
	overflow.TimeWait = &event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown}
	open := *bare()
	open.TimeWait = &event.TimeWaitInfo{Duration: event.Unknown, End: event.EndExpired, Late: 0}
	hostile := *full()
	hostile.Process.Comm = event.MakeComm("\x1b]0;\"\\\xff\xff日") // as reading gives back what is not UTF-8
	hostile.Process.Exe = "/bin/\"\x01日\\"
	hostile.Errno = 77
	none := bare().Socket
	none.Peer = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	return []any{
		event.Start{
			KTime: 1, Clock: clock, Version: "1", CommandLine: []string{"finwait", "a \"b\"\n"}, Host: "h", Kernel: "6.1", Arch: "amd64",
			BootID: "b", Tick: 4 * time.Millisecond, Probe: "timer", ProbeReason: "refused",
			Hooks:      []event.Hook{{Name: "a", Attached: "tp"}, {Name: "b", Lost: "much", Error: "why"}},
			Namespaces: []event.Namespace{{Inode: 1, Settings: map[string]string{"tcp_tw_reuse": "2", "tcp_fin_timeout": "60"}}, {Inode: 2}},
			Sockets:    3, TimeWaits: 4, Part: event.Part{Number: 2, Began: 99},
		},
		*full(), *bare(), overflow, open, hostile, *full(), *full(),
		event.ConnectError{KTime: 1, Socket: none, Process: curl, Errno: 99},
		event.ConnectError{KTime: 1, Socket: socket4},
		event.Release{KTime: 1, Socket: socket4, Process: curl, Held: 7},
		event.Release{KTime: 1, Socket: bare().Socket, Held: event.Unknown},
		event.Loss{KTime: 5, Since: 3, Reason: event.LossRingFull, Count: 1 << 40},
		event.Loss{KTime: 5, Reason: event.LossRecursion, Count: 1},
		event.Start{Clock: clock, CommandLine: []string{}},
		event.End{
			KTime: 1, Elapsed: 5, Transitions: 1, Closes: 2, Errors: 3, Born: 4, Open: 5, PickedUp: 6,
			Lost: map[event.LossReason]uint64{event.LossMapFull: 7}, Kernel: []event.KernelCounters{counters, filtered},
		},
		event.End{Lost: map[event.LossReason]uint64{}},
	}
}

func TestReader(t *testing.T) {
	want := everything()
	text := written(t, want...)
	for name, r := range map[string]io.Reader{
		"at once":      bytes.NewReader(text),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(text)),
		"with the end": iotest.DataErrReader(bytes.NewReader(text)),
		"spaced":       strings.NewReader(strings.NewReplacer(`":`, "\" :\t", `,"`, ", \"", "\n", " \r\n").Replace(string(text))),
	} {
		got := read(r)
		if diff := cmp.Diff(want, got.records, sameAddress); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
		if got.err != io.EOF || got.reader.Cut() || got.reader.Other() != 0 {
			t.Errorf("%s: error %v, cut %v, %d of other types", name, got.err, got.reader.Cut(), got.reader.Other())
		}
		if again := written(t, got.records...); name == "at once" && !bytes.Equal(again, text) {
			t.Errorf("written again:\n%s\nwas\n%s", again, text)
		}
	}
}

// TestReaderClock: the clock comes from each record, so that records of several hosts can
// be in one file.
func TestReaderClock(t *testing.T) {
	var b bytes.Buffer
	w := New(&b, clock)
	other := event.Clock{Offset: 1_750_000_000_123_456_789}
	for _, c := range []event.Clock{clock, other, clock} {
		w.SetClock(c)
		if err := w.Transition(bare()); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(&b)
	for _, c := range []event.Clock{clock, other, clock} {
		if rec, err := r.Next(); err != nil || rec.Clock != c || rec.Wall() != c.Wall(rec.KTime).UnixNano() {
			t.Errorf("clock %v, %v; want %v", rec.Clock, err, c)
		}
	}
}

// TestReaderOrder: fields may come in any order, and there may be more of them.
func TestReaderOrder(t *testing.T) {
	text := `{"zz":[1,{"a":[]},-2.5e3,null,true,"]"],"peer":{"port":2,"address":"2001:db8::2","zz":{}},"new_state":"CLOSE_WAIT","local":{"port":1,"address":"2001:db8::1"},` +
		`"old_state":"ESTABLISHED","netns":{"zz":0},"socket":{},"network_type":"ipv6","attribution":"unknown","ktime_ns":1,"timestamp":"2023-11-14T23:13:20.000000001+01:00","schema_version":1,"type":"transition"}` + "\n"
	got := read(strings.NewReader(text))
	if diff := cmp.Diff([]any{*bare()}, got.records, sameAddress); diff != "" || got.err != io.EOF {
		t.Errorf("%v (-want +got):\n%s", got.err, diff)
	}
}

// TestReaderOther: verdicts are derived again, and types that came later are counted.
func TestReaderOther(t *testing.T) {
	text := string(written(t, *bare(), event.CloseRecord{Socket: socket4})) + "\n" +
		`{"type":"weather","schema_version":1,"process":"not an object","timestamp":7}` + "\n" + string(written(t, *full(), event.End{}))
	got := read(strings.NewReader(text))
	if len(got.records) != 3 || got.err != io.EOF || got.reader.Other() != 1 || got.reader.Cut() {
		t.Errorf("%d records, error %v, %d of other types, cut %v; want 3, EOF, 1, false", len(got.records), got.err, got.reader.Other(), got.reader.Cut())
	}
}

// TestReaderCut cuts a trace at every byte: every whole line before is kept, and it says so.
func TestReaderCut(t *testing.T) {
	text := written(t, *full(), *bare(), event.End{Lost: map[event.LossReason]uint64{}})
	for n := range len(text) + 1 {
		for _, end := range []error{io.EOF, io.ErrUnexpectedEOF} {
			got := read(io.MultiReader(bytes.NewReader(text[:n]), iotest.ErrReader(end)))
			whole := bytes.Count(text[:n], []byte("\n"))
			if n < len(text) && text[n] == '\n' { // all of the line but its end is there
				whole++
			}
			if got.err != io.EOF || len(got.records) != whole || got.reader.Cut() != (whole < 3) {
				t.Fatalf("cut at %d: %d records, error %v, cut %v; want %d", n, len(got.records), got.err, got.reader.Cut(), whole)
			}
		}
	}
}

func TestReaderErrors(t *testing.T) {
	good := string(written(t, *full()))
	broken := errors.New("the disk is on fire")
	for _, tc := range []struct {
		name, text string
		want       error
		says       string
	}{
		{"not JSON", "hello\n", ErrRecord, "invalid character"},
		{"half a line", good[:100] + "\n", ErrRecord, "unexpected end"},
		{"two on a line", strings.TrimSpace(good) + good, ErrRecord, "after top-level value"},
		{"zeros", "\x00\x00\x00\n", ErrRecord, "invalid character"},
		{"another version", strings.Replace(good, `"schema_version":1`, `"schema_version":2`, 1), ErrVersion, "schema version 2; this finwait reads version 1"},
		{"another version, other fields", `{"type":"transition","schema_version":3,"process":7}` + "\n", ErrVersion, "schema version 3"},
		{"no version", `{"type":"transition"}` + "\n", ErrRecord, "no schema_version"},
		{"no type", `{"schema_version":1}` + "\n", ErrRecord, "no type"},
		{"no time", `{"type":"transition","schema_version":1}` + "\n", ErrRecord, "transition without ktime_ns"},
		{"no states", `{"type":"transition","schema_version":1,"ktime_ns":1,"timestamp":"2023-11-14T22:13:20.000000001Z"}` + "\n", ErrRecord, "addresses or states"},
		{"wrong type of a field", strings.Replace(good, `"pid":812`, `"pid":"812"`, 1), ErrRecord, "an integer"},
		{"a number out of range", strings.Replace(good, `"port":51324`, `"port":70000`, 1), ErrRecord, "an integer"},
		{"a name that is too long", strings.Replace(good, `"comm":"nginx"`, `"comm":"nginxnginxnginxnginx"`, 1), ErrRecord, "at most 16 bytes"},
		{"no state", strings.Replace(good, `"TIME_WAIT"`, `"WAITING"`, 1), ErrRecord, "states that TCP does not have"},
		{"before the boot", strings.Replace(good, `"ktime_ns":`, `"ktime_ns":-`, 1), ErrRecord, "an integer"},
		{"no address", strings.Replace(good, `10.0.0.4`, `10.0.0.444`, 1), ErrRecord, "an address"},
		{"no time of day", strings.Replace(good, `22:13:21`, `22:13:61`, 1), ErrRecord, "a timestamp"},
		{"no reason for a loss", strings.Replace(string(written(t, event.Loss{Reason: event.LossRingFull})), "ring_full", "bored", 1), ErrRecord, `no reason "bored"`},
		{"nests without end", strings.Replace(good, `"type"`, `"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"type"`, 1), ErrRecord, "less nesting"},
		{"too long", `{"x":"` + strings.Repeat("x", MaxLine) + "\"}\n", ErrLong, "longer than 1 MiB"},
		{"an array", "[]\n", ErrRecord, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := read(strings.NewReader(good + good + "\n" + tc.text + good))
			var at *LineError
			if !errors.Is(got.err, tc.want) || !errors.As(got.err, &at) || at.Line != 4 || at.Offset != int64(2*len(good)+1) {
				t.Fatalf("error = %v, want %v at line 4, byte %d", got.err, tc.want, 2*len(good)+1)
			}
			if !strings.Contains(got.err.Error(), tc.says) {
				t.Errorf("%q does not say %q", got.err, tc.says)
			}
			if len(got.records) != 2 {
				t.Errorf("%d records before, want 2", len(got.records))
			}
			if _, err := got.reader.Next(); !errors.Is(err, tc.want) {
				t.Errorf("the next call: %v", err)
			}
		})
	}
	got := read(io.MultiReader(strings.NewReader(good), iotest.ErrReader(broken)))
	if !errors.Is(got.err, broken) || len(got.records) != 1 || !got.reader.Cut() {
		t.Errorf("%d records, error %v; want 1 and the reader's", len(got.records), got.err)
	}
}

// endless is a line that never ends.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// TestReaderBounded: hostile input takes no more memory than the longest line.
func TestReaderBounded(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	good := written(t, *full())
	got := read(io.MultiReader(bytes.NewReader(good), io.LimitReader(endless{}, 1<<30)))
	if !errors.Is(got.err, ErrLong) || len(got.records) != 1 {
		t.Errorf("%d records, error %v", len(got.records), got.err)
	}
	// Every process is another one: what is remembered of them is bounded.
	r := NewReader(&many{line: good})
	for {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(r)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
		t.Errorf("took %d MiB", grown>>20)
	}
}

// many is a trace in which every record has another process and another path.
type many struct {
	line []byte
	n    int
	rest []byte
}

func (m *many) Read(b []byte) (int, error) {
	if len(m.rest) == 0 {
		if m.n++; m.n > 200_000 {
			return 0, io.EOF
		}
		m.rest = bytes.Replace(m.line, []byte("/usr/sbin/nginx"), fmt.Appendf(nil, "/usr/sbin/%0200d", m.n), 1)
		m.rest = bytes.Replace(m.rest, []byte(`"pid":812`), fmt.Appendf(nil, `"pid":%d`, m.n), 1)
	}
	n := copy(b, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

func TestReaderDoesNotAllocate(t *testing.T) {
	text := bytes.Repeat(written(t, *full(), *bare()), 1002)
	r := NewReader(bytes.NewReader(text))
	next := func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	next()
	if n := testing.AllocsPerRun(2000, next); n != 0 {
		t.Errorf("%g allocations for a record", n)
	}
}

// FuzzReader: anything may come. What is read is written again and reads the same; and
// what was written is read and written to the same bytes.
func FuzzReader(f *testing.F) {
	f.Add(written(f, everything()...))
	for _, r := range everything() {
		f.Add(written(f, r))
	}
	f.Add([]byte("{\"type\":\"transition\",\"schema_version\":1,\"ktime_ns\":-1}\n{"))
	if sample, err := os.ReadFile("../../testdata/samples/linux-6.18-timer.jsonl"); err == nil {
		f.Add(sample[:bytes.IndexByte(sample, '\n')+1])
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := read(bytes.NewReader(text))
		if got.err == nil {
			t.Fatal("no end")
		}
		once := written(t, got.records...)
		again := read(bytes.NewReader(once))
		if again.err != io.EOF {
			t.Fatalf("what was written cannot be read: %v\n%s", again.err, once)
		}
		if diff := cmp.Diff(got.records, again.records, sameAddress); diff != "" {
			t.Fatalf("read again (-first +second):\n%s\n%s", diff, once)
		}
		if twice := written(t, again.records...); !bytes.Equal(once, twice) {
			t.Fatalf("written again:\n%s\nwas\n%s", twice, once)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	sample, err := os.ReadFile("../../testdata/samples/linux-6.18-timer.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string][]byte{"full": written(b, *full()), "recorded": sample} {
		b.Run(name, func(b *testing.B) {
			text := bytes.Repeat(text, 1+10_000_000/len(text))
			total := bytes.Count(text, []byte("\n"))
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				r := NewReader(bytes.NewReader(text))
				n := 0
				for ; ; n++ {
					if _, err := r.Next(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
				if n != total {
					b.Fatalf("%d records of %d", n, total)
				}
			}
			b.ReportMetric(float64(total)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
