// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"syscall"
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
	conns   map[uint64]*conn // by key
	minis   map[uint64]*conn // by the address of the mini-socket: those that conns does not find
	tuples  index
	ends    ends // of the mini-sockets; kept only where segments are nameless
	procs   processes
	stats   Stats
	swept   int64 // ktime of the last sweep
	settled int64 // ktime up to which everything has been handed on
	lossy   bool  // samples are missing: absence means nothing any more

	// Reused for every record.
	tr   event.Transition
	info event.TimeWaitInfo

	known *conn   // whom the sample that is due is about, as far as preview has found out
	spare []*conn // forgotten

	recent [recent]*conn // of conns, or empty; see byKey
}

// New returns a Flow that hands its records to out.
func New(out Handler, opt Options) *Flow {
	if opt.Tick == 0 {
		opt.Tick = defaultTick
	}
	if opt.MaxConns == 0 {
		opt.MaxConns = defaultMaxConns
	}
	return &Flow{
		opt: opt, out: out, conns: map[uint64]*conn{}, minis: map[uint64]*conn{}, ends: ends{},
		tuples: index{seed: rand.Uint64(), rings: map[uint64]*conn{}},
		procs:  processes{namer: opt.Namer, byKey: map[processKey]*event.Process{}},
	}
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
	f.window.push(s, f.preview(s))
	return nil
}

// Advance says that every sample older than ktime has come, and hands on what that settles.
func (f *Flow) Advance(ktime int64) error {
	if err := f.settle(ktime - int64(settle)); err != nil {
		return err
	}
	f.settled = max(f.settled, ktime-int64(settle))
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
		if f.known = nil; d.conn != nil && d.conn.lives == d.lives && d.conn.key == key(&d.Sample) && d.conn.tuple == d.Tuple {
			f.known = d.conn
		}
		if err := f.step(&d.Sample); err != nil {
			return err
		}
	}
	return nil
}

// key identifies a socket.
func key(s *event.Sample) uint64 {
	if s.Cookie != 0 {
		return s.Cookie
	}
	return namelessKey(s)
}

// namelessKey stands for the cookie of a socket that has none: its address and its ends,
// because addresses come again, sooner than the last samples of who had them before.
// Cookies are small numbers, or have the top bit set where finwait gives them.
func namelessKey(s *event.Sample) uint64 {
	const odd = 0x9E3779B97F4A7C15
	h := s.Sock ^ uint64(s.LocalPort)<<48 ^ uint64(s.PeerPort)<<32
	for i := 0; i < 16; i += 8 {
		h = (h ^ binary.NativeEndian.Uint64(s.Local[i:])) * odd
		h = (h ^ binary.NativeEndian.Uint64(s.Peer[i:])) * odd
	}
	return h>>2 | 1<<62
}

// find returns the connection that s is about. A mini-socket goes by its address once it is
// born. At its birth it has its socket's cookie; kernels before 5.12 give none to tracing
// programs, and there the 4-tuple joins the two.
func (f *Flow) find(s *event.Sample) *conn {
	if !s.Kind.Mini() {
		c := f.byKey(key(s))
		if c == nil && s.Cookie>>63 != 0 {
			c = f.byKey(namelessKey(s)) // numbered late: the kernel side had no room for it before
		}
		return c
	}
	var c *conn
	if s.Cookie != 0 {
		if c = f.byKey(s.Cookie); c != nil && c.mini != nil && c.mini.sock == s.Sock && c.tuple == s.Tuple && c.netns == s.NetNS {
			return c
		}
	}
	if c := f.minis[s.Sock]; c != nil && c.tuple == s.Tuple && c.netns == s.NetNS {
		return c
	}
	if s.Cookie == 0 {
		return f.tuples.closing(&s.Tuple, s.NetNS)
	}
	if c != nil && c.mini != nil && c.mini.sock != s.Sock {
		return nil // the connection before, or after, this one
	}
	return c
}

func (f *Flow) open(s *event.Sample) *conn {
	if c := f.find(s); c != nil {
		return c
	}
	if f.stats.Conns >= f.opt.MaxConns {
		f.evict()
	}
	c := f.take()
	c.key, c.cookie, c.tuple, c.netns, c.family = key(s), s.Cookie, s.Tuple, s.NetNS, s.Family
	c.bytesSent, c.bytesReceived, c.timestamps = event.Unknown, event.Unknown, event.Unknown
	switch other := f.conns[c.key]; {
	case s.Kind.Mini() && (other != nil || s.Cookie == 0):
		c.key = 0 // the socket, if there is one, has another connection by now
	case other != nil && other.mini != nil:
		f.leave(other) // the full socket's address serves another one by now
	case other != nil:
		f.forget(other)
		f.stats.Evicted++
	}
	if c.key != 0 {
		f.conns[c.key] = c
		f.recent[c.key%recent] = c
	}
	f.tuples.add(c)
	f.stats.Conns++
	return c
}

// recent is how many connections byKey remembers: a power of two. Cookies count up, and what
// happens to a connection happens within milliseconds, so most of the time one of them it is.
const recent = 4096

// byKey is f.conns[key].
func (f *Flow) byKey(key uint64) *conn {
	if c := f.recent[key%recent]; c != nil && c.key == key && key != 0 {
		return c
	}
	c := f.conns[key]
	if c != nil {
		f.recent[key%recent] = c
	}
	return c
}

// replace puts a mini-socket in the place of the full one.
func (f *Flow) replace(c *conn, s *event.Sample, m mini) {
	if c.mini == nil {
		f.stats.TimeWaits++
	} else if c.mini.listed {
		delete(f.minis, c.mini.sock)
	}
	c.room, c.mini = m, &c.room
	// Where ends that were lost are noticed in time, the key is enough.
	if c.key == 0 || c.key != s.Cookie || !f.opt.SegmentsSeen || f.opt.NamelessSegments {
		f.list(c)
	}
	if f.opt.NamelessSegments {
		f.ends.remove(c)
		f.ends.add(c)
	}
}

// list makes a mini-socket known by its address.
func (f *Flow) list(c *conn) {
	if other := f.minis[c.mini.sock]; other != nil && other != c {
		f.forget(other) // its end was lost: two cannot have one address
		f.stats.Evicted++
	}
	c.mini.listed = true
	f.minis[c.mini.sock] = c
}

// reopen begins another connection of the same socket: its descriptor outlived the first
// one, and connect() used it again. The cookie is the socket's, so both have it; where the
// first lives on as a mini-socket, it goes by its address alone from now on.
func (f *Flow) reopen(c *conn, s *event.Sample) *conn {
	next, nextKnown := c.next, c.nextKnown
	if c.mini == nil {
		f.forget(c)
	} else {
		f.leave(c)
	}
	again := f.open(s)
	again.next, again.nextKnown = next, nextKnown
	return again
}

// leave makes a connection go by its mini-socket alone.
func (f *Flow) leave(c *conn) {
	delete(f.conns, c.key)
	f.tuples.remove(c)
	c.key = 0
	if !c.mini.listed {
		f.list(c)
	}
}

// each calls fn with every connection, in no order.
func (f *Flow) each(fn func(*conn)) {
	for _, c := range f.conns {
		fn(c)
	}
	for _, c := range f.minis {
		if c.key == 0 {
			fn(c)
		}
	}
}

// evict drops some connection: Go's map order is as good as any here, and the loss is counted.
func (f *Flow) evict() {
	f.stats.Evicted++
	for _, c := range f.conns {
		f.forget(c)
		return
	}
	for _, c := range f.minis {
		f.forget(c)
		return
	}
}

func (f *Flow) forget(c *conn) {
	if c.mini != nil {
		if c.mini.listed {
			delete(f.minis, c.mini.sock)
		}
		f.stats.TimeWaits--
	}
	f.tuples.remove(c)
	f.ends.remove(c)
	if c.key != 0 {
		delete(f.conns, c.key)
	}
	f.stats.Conns--
	*c = conn{lives: c.lives + 1}
	if len(f.spare) < maxSpare {
		f.spare = append(f.spare, c)
	}
}

// maxSpare is how many forgotten connections are kept to be used again: more than come
// within the window, fewer than a burst of ends would leave behind.
const maxSpare = 8192

// take returns an empty connection.
func (f *Flow) take() *conn {
	n := len(f.spare)
	if n == 0 {
		return &conn{}
	}
	c := f.spare[n-1]
	f.spare = f.spare[:n-1]
	return c
}

// preview looks at a sample when it arrives, before it is due, only to know whose
// socket it is: the other end's record, due a moment earlier, can then name it.
func (f *Flow) preview(s *event.Sample) *conn {
	if s.Kind != event.KindTransition {
		return nil
	}
	c := f.open(s)
	c.next, c.nextKnown = nil, s.Attribution
	if s.Has(event.FlagOwner) {
		c.next = f.procs.intern(s)
	}
	return c
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

// transition is a step of the full socket.
func (f *Flow) transition(s *event.Sample) error {
	c := f.known
	if c == nil {
		c = f.open(s)
	}
	if c.again(s) {
		c = f.reopen(c, s)
	}
	if c.state == s.New && s.Old != s.New {
		f.stats.Duplicates++
		return nil
	}
	if c.state != event.StateUnknown && c.state != s.Old && c.mini == nil {
		c.incomplete = true
	}
	if c.state == event.StateUnknown && f.lossy && !c.existed && midway(s.Old) {
		c.incomplete = true
	}
	c.role, c.sock = s.Role, s.Sock
	if s.Has(event.FlagOwner) {
		c.owner, c.attribution = f.procs.intern(s), s.Attribution
	} else {
		c.owner, c.attribution = f.procs.nobody(s.Cgroup), event.AttributionUnknown
	}
	c.bytesSent, c.bytesReceived, c.timestamps = int64(s.BytesSent), int64(s.BytesReceived), 0
	if s.Has(event.FlagTimestamps) {
		c.timestamps = 1
	}
	by := call(s)
	connecting := s.Old == event.SynSent || s.Old == event.SynRecv
	first := c.closer == event.CloserUnknown && !(connecting && s.New == event.Close)
	if first {
		c.closer, c.method = verdict(s, by)
	} else if s.New == event.Closing {
		c.closer = event.CloserBoth
	}
	since := s.Since
	if since == 0 {
		since = c.since
	}
	c.state, c.since = s.New, s.KTime
	if s.New == event.Close {
		c.closed = s.KTime
	}

	if s.New == event.Close && c.mini != nil {
		// tcp_time_wait() has put a mini-socket in this socket's place: what the
		// tracepoint calls the end is not.
		c.gone = true
		f.tuples.remove(c) // a new connection may get the 4-tuple now
		c.state, c.since = c.mini.state, since
		if c.mini.state == event.TimeWait {
			c.since = c.mini.entered
		}
		return nil
	}

	t := f.begin(c, s.KTime)
	t.Old, t.New, t.Call = s.Old, s.New, by
	t.Duration = span(since, s.KTime)
	t.Errno = s.Errno
	if first {
		t.Idle = time.Duration(s.IdleJiffies) * f.opt.Tick
	}
	if by != event.MethodUnknown && s.Has(event.FlagShutBoth) {
		t.Unread = int64(s.Unread)
	}
	if s.New != event.Close {
		return f.out.Transition(t)
	}
	if s.Errno == 0 {
		f.withoutTimeWait(c, s, t)
	}
	f.countEnd(s, t)
	if noLocalPort(s, by) {
		t.Errno = uint16(syscall.EADDRNOTAVAIL)
	}
	err := f.out.Transition(t)
	if s.Old == event.SynSent && t.Errno != 0 && err == nil {
		err = f.out.ConnectError(&event.ConnectError{KTime: s.KTime, Socket: t.Socket, Process: t.Process, Errno: t.Errno})
	}
	if !f.held(s) {
		f.forget(c)
	}
	return err
}

// midway: a state that only a closing step leads to.
func midway(s event.State) bool {
	switch s {
	case event.FinWait1, event.FinWait2, event.CloseWait, event.LastAck, event.Closing:
		return true
	}
	return false
}

// noLocalPort: back from SYN_SENT in the caller's own context, without an error on the
// socket and without a local port: inet_hash_connect() found none.
func noLocalPort(s *event.Sample, by event.Method) bool {
	return s.Old == event.SynSent && s.Has(event.FlagCall) && by == event.MethodUnknown && s.Errno == 0 && s.LocalPort == 0
}

// held: the connection is dead, but a descriptor still refers to its socket. The
// kernel side reports the release of just these.
func (f *Flow) held(s *event.Sample) bool {
	return s.Errno != 0 && s.Flags&(event.FlagCall|event.FlagOrphan) == 0 && s.Old != event.SynSent && s.Old != event.SynRecv
}

// withoutTimeWait explains a socket that left FIN_WAIT2 or CLOSING for CLOSE without a
// mini-socket and without an error.
func (f *Flow) withoutTimeWait(c *conn, s *event.Sample, t *event.Transition) {
	if s.Old != event.FinWait2 && s.Old != event.Closing && s.Old != event.FinWait1 {
		return
	}
	orphan := s.Has(event.FlagOrphan) && s.Old == event.FinWait2
	switch t.Call {
	case event.MethodUnknown:
	case event.MethodClose, event.MethodExit:
		// tcp_close() of a socket that shutdown() had left in FIN_WAIT2 asks for a mini-socket too.
		orphan = false
	default:
		return // the call sent an RST
	}
	switch {
	case c.refused:
		f.overflow(t)
	case f.lossy:
		t.Incomplete = true // there may be a mini-socket, whose birth was lost
	case orphan && s.Has(event.FlagLinger2):
		t.Call = event.MethodLinger2
	case s.Has(event.FlagFull):
		f.overflow(t)
	case orphan:
		// tcp_rcv_state_process(): data for a socket that nobody can read any more.
		t.Call = event.MethodDataAfterClose
	}
}

func (f *Flow) overflow(t *event.Transition) {
	f.stats.Refused++
	f.info = event.TimeWaitInfo{End: event.EndOverflow, Late: event.Unknown}
	t.TimeWait = &f.info
}

// connectError is the errno that connect() returned, just after its SYN_SENT → CLOSE.
func (f *Flow) connectError(s *event.Sample) error {
	if s.LocalPort == 0 {
		return nil // reported with the transition
	}
	e := event.ConnectError{KTime: s.KTime, Errno: s.Errno, Socket: event.Socket{
		Cookie: s.Cookie, NetNS: s.NetNS, Family: s.Family, Local: s.LocalAddr(), Peer: s.PeerAddr(), Role: event.Client,
	}}
	if s.Has(event.FlagOwner) {
		e.Process = *f.procs.intern(s)
	}
	return f.out.ConnectError(&e)
}

// release is the owner's close() of a socket that had died before.
func (f *Flow) release(s *event.Sample) error {
	r := event.Release{KTime: s.KTime, Held: span(s.Since, s.KTime)}
	c := f.find(s)
	if c == nil {
		r.Socket = event.Socket{Cookie: s.Cookie, NetNS: s.NetNS, Family: s.Family, Local: s.LocalAddr(), Peer: s.PeerAddr(), Role: s.Role}
	} else {
		r.Socket = c.socket()
		if c.mini == nil {
			f.forget(c)
		}
	}
	if s.Has(event.FlagOwner) {
		r.Process = *f.procs.intern(s)
	}
	return f.out.Release(&r)
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
	if c.owner != nil {
		t.Process = *c.owner
	}
	if !c.gone {
		if p := f.tuples.peer(c); p != nil {
			switch {
			case p.owner.Known():
				c.peer = p.owner
			case p.next != nil:
				c.peer = p.next
			}
		}
	}
	if c.peer != nil {
		t.PeerProcess = *c.peer
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
