// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"math/rand/v2"
	"time"

	"finwait/tracer/event"
)

// Handler receives the records, in the order of time; only a step into TIME_WAIT that
// was worked out afterwards comes late. A record is valid until the call returns. An
// error ends the call to Sample, Advance or Flush that caused it.
type Handler interface {
	Transition(*event.Transition) error
	ConnectError(*event.ConnectError) error
	Release(*event.Release) error
}

// Options configures a [Flow].
type Options struct {
	Tick     time.Duration // length of a jiffy; 0: 4 ms
	MaxConns int           // connections followed at a time; 0: 1,048,576
	Namer    Namer         // completes processes; nil: they stay as the kernel names them
	// SegmentsSeen: the segments that end a TIME_WAIT are reported, so that their
	// absence means something.
	SegmentsSeen bool
	// NamelessSegments: a FIN for a mini-socket is reported by its ends alone.
	NamelessSegments bool
	// CountsAtExpiry: the kernel counts TW and TWKilled when a mini-socket expires.
	CountsAtExpiry bool
	Counter        Counter // nil: nothing is counted for comparison
}

const (
	// settle is how long a sample waits for the order of time and for the other end
	// on this host to be seen. A FIN on loopback arrives within microseconds.
	settle = 25 * time.Millisecond
	// evidence is how long after the end of a TIME_WAIT its reason may show, which comes
	// in the same softirq. It must be shorter than settle: when the end is due, the
	// evidence is in the window.
	evidence = 5 * time.Millisecond

	// overdue is how long after its time a mini-socket's end is waited for.
	overdue = 5 * time.Second

	// trimEvery is how often memory that a burst has left behind is given back.
	trimEvery = 5 * time.Second

	timeWaitLen = 60 * time.Second // TCP_TIMEWAIT_LEN

	// jitter is by how many jiffies two readings of one setting of a timer may differ.
	jitter = 2

	defaultTick     = 4 * time.Millisecond
	defaultMaxConns = 1 << 20
)

// Stats counts what went through a [Flow].
type Stats struct {
	Samples    uint64
	Conns      int    // followed now
	TimeWaits  int    // mini-sockets alive now, orphans' FIN_WAIT2 included
	Born       uint64 // mini-sockets seen to be born
	Refused    uint64 // skipped because of tcp_max_tw_buckets or memory
	Ended      [10]uint64
	Evicted    uint64 // connections dropped because the table was full
	Duplicates uint64 // steps seen twice
	Overdue    uint64 // mini-sockets whose end was not seen
	Unseen     uint64 // connections that were found to be over
	Unmatched  uint64 // mini-socket samples without a connection: their beginning was lost
}

// Flow follows connections to their end. The zero value is not usable; see [New].
type Flow struct {
	opt     Options
	out     Handler
	window  window
	store   *store
	conns   table // by key
	minis   table // by the address of the mini-socket: those that conns does not find
	tuples  index
	ends    ends // of the mini-sockets; kept only where segments are nameless
	procs   processes
	stats   Stats
	swept   int64 // ktime of the last sweep
	trimmed int64 // and of the last time that memory was given back
	settled int64 // ktime up to which everything has been handed on
	lossy   bool  // samples are missing: absence means nothing any more

	// Reused for every record.
	tr   event.Transition
	info event.TimeWaitInfo

	// Of the sample that is due, as far as preview has found out:
	known *conn // whom it is about
	who   name  // whom it names
}

// New returns a Flow that hands its records to out.
func New(out Handler, opt Options) *Flow {
	if opt.Tick == 0 {
		opt.Tick = defaultTick
	}
	if opt.MaxConns == 0 {
		opt.MaxConns = defaultMaxConns
	}
	s := &store{}
	f := &Flow{
		opt: opt, out: out, store: s, conns: newTable(), minis: newTable(), ends: ends{},
		tuples: newIndex(s, rand.Uint64()), procs: newProcesses(opt.Namer),
	}
	f.procs.inUse = f.named
	return f
}

// Stats returns the counts so far.
func (f *Flow) Stats() Stats { return f.stats }

// Lossy says that samples are missing from now on.
func (f *Flow) Lossy() { f.lossy = true }

// Sample takes one sample. Samples may come out of order by less than the window.
func (f *Flow) Sample(s *event.Sample) error {
	f.stats.Samples++
	if s.Sock == 0 && s.Kind != event.KindRefused && !nameless(s) {
		f.stats.Unmatched++ // every socket has an address
		return nil
	}
	c, who := f.preview(s)
	f.window.push(s, c, who)
	return nil
}

// Advance says that every sample older than ktime has come, and hands on what that settles.
func (f *Flow) Advance(ktime int64) error {
	if err := f.settle(ktime - int64(settle)); err != nil {
		return err
	}
	f.settled = max(f.settled, ktime-int64(settle))
	if ktime > f.trimmed+int64(trimEvery) {
		f.trimmed = ktime
		f.store.trim()
	}
	return f.sweep(ktime - int64(settle))
}

// Flush hands on everything that is still waiting. The trace is over.
func (f *Flow) Flush() error { return f.settle(1<<63 - 1) }

func (f *Flow) settle(until int64) error {
	for {
		d := f.window.pop(until)
		if d == nil {
			break
		}
		f.known = nil
		if c := f.store.at(d.conn); c != nil && c.lives == d.lives && c.key == key(&d.Sample) && c.tuple == d.Tuple {
			f.known = c
		}
		f.who = d.who
		if err := f.step(&d.Sample); err != nil {
			return err
		}
	}
	return nil
}

// preview looks at a sample when it arrives, before it is due, only to know whose
// socket it is: the other end's record, due a moment earlier, can then name it.
func (f *Flow) preview(s *event.Sample) (c *conn, who name) {
	if s.Kind != event.KindTransition {
		return nil, 0
	}
	if s.Has(event.FlagOwner) {
		who = f.procs.intern(s)
	}
	c = f.open(s)
	c.next, c.nextKnown = who, s.Attribution
	return c, who
}

func (f *Flow) step(s *event.Sample) error {
	switch s.Kind {
	case event.KindTransition:
		return f.transition(s)
	case event.KindArmed:
		return f.armed(s)
	case event.KindDead:
		return f.dead(s)
	case event.KindRefused:
		if c := f.find(s); c != nil {
			c.refused = true
		}
	case event.KindMiniSeen:
		f.seen(s)
	case event.KindSockSeen:
		c := f.open(s)
		c.existed, c.before, c.sock = true, s.New, s.Sock
	case event.KindRelease:
		return f.release(s)
	case event.KindConnectError:
		return f.connectError(s)
	}
	return nil
}

// begin starts the one record that is reused, with what every record of c says.
func (f *Flow) begin(c *conn, ktime int64) *event.Transition {
	t := &f.tr
	*t = event.Transition{
		KTime: ktime, Socket: c.socket(), Attribution: c.attribution,
		Closer: c.closer, Method: c.method, Duration: event.Unknown, Idle: event.Unknown, Unread: event.Unknown,
		BytesSent: c.bytesSent, BytesReceived: c.bytesReceived, Timestamps: c.timestamps,
		Existed: c.existed, Incomplete: c.incomplete,
	}
	c.incomplete = false
	if c.owner != 0 {
		t.Process = *f.procs.at(c.owner)
	}
	if !c.gone {
		if p := f.tuples.peer(c); p != nil {
			switch {
			case f.procs.at(p.owner).Known():
				c.peer = p.owner
			case p.next != 0:
				c.peer = p.next
			}
		}
	}
	if c.peer != 0 {
		t.PeerProcess = *f.procs.at(c.peer)
	}
	return t
}

// span is the time between two moments; Unknown when the first one is.
func span(from, to int64) time.Duration {
	if from == 0 {
		return event.Unknown
	}
	return time.Duration(max(to-from, 0))
}
