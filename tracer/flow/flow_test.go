// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finwait/tracer/event"
)

// Two ends on different hosts: each scenario shows one of them.
var (
	client = end{cookie: 1, sock: 0x1000, netns: 1, local: "10.0.0.1:5000", peer: "10.0.0.2:80", role: event.Client}
	server = end{cookie: 2, sock: 0x2000, netns: 1, local: "10.0.0.2:80", peer: "10.0.0.1:5000", role: event.Server}
)

// closes is the usual beginning: close() by process 10, after half a second.
func closes(e end, f event.Flags, mods ...mod) event.Sample {
	return e.step(1000, event.Established, event.FinWait1, append([]mod{by(10), flags(f), since(500)}, mods...)...)
}

func acked(e end) event.Sample {
	return e.step(1001, event.FinWait1, event.FinWait2, cached(10), since(1000), flags(event.FlagOrphan|event.FlagShutBoth))
}

// replaced is what the tracepoint says when a mini-socket has taken the socket's place.
func replaced(e end, t ms, old event.State) event.Sample {
	return e.step(t, old, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagShutBoth))
}

// inTimeWait is a connection that process 10 closed and that entered TIME_WAIT at 1003, until 61004.
func inTimeWait(e end, rest ...event.Sample) []event.Sample {
	return append([]event.Sample{closes(e, closing), acked(e), e.armed(1003, event.TimeWait, 61004), replaced(e, 1003.1, event.FinWait2)}, rest...)
}

var inTimeWaitLines = []string{
	"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
	"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
	"1003 1 FIN_WAIT2→TIME_WAIT 2 pid=10/cached local by close",
}

func afterTimeWait(line string) []string {
	return append(append([]string(nil), inTimeWaitLines...), line)
}

var scenarios = []struct {
	name    string
	opt     Options
	samples []event.Sample
	want    []string
}{
	{
		name: "client first, the peer's FIN comes later: mini-socket born in FIN_WAIT2",
		samples: []event.Sample{
			closes(client, closing, idle(40)), acked(client),
			client.armed(1001.1, event.FinWait2, 61004),
			replaced(client, 1001.2, event.FinWait2),
			client.armed(1003, event.TimeWait, 61004, flags(event.FlagRequeued)),
			client.dead(62000, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close idle=40",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
			"1003 1 FIN_WAIT2→TIME_WAIT 2 pid=10/cached local by close",
			"62000 1 TIME_WAIT→CLOSE 60997 pid=10/cached local by close [expired 60997 late=996]",
		},
	}, {
		name:    "the peer's FIN comes with the ACK: mini-socket born in TIME_WAIT",
		samples: inTimeWait(client, client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired))),
		want:    afterTimeWait("61004 1 TIME_WAIT→CLOSE 60001 pid=10/cached local by close [expired 60001 late=0]"),
	}, {
		name: "the peer closes first",
		samples: []event.Sample{
			server.step(1000, event.Established, event.CloseWait, cached(20), since(500), idle(8)),
			server.step(1500, event.CloseWait, event.LastAck, by(20), since(1000), flags(closing)),
			server.step(1501, event.LastAck, event.Close, cached(20), since(1500), flags(event.FlagOrphan|event.FlagShutBoth)),
		},
		want: []string{
			"1000 2 ESTABLISHED→CLOSE_WAIT 500 pid=20/cached peer by fin idle=8",
			"1500 2 CLOSE_WAIT→LAST_ACK 500 pid=20/exact peer by fin call=close",
			"1501 2 LAST_ACK→CLOSE 1 pid=20/cached peer by fin",
		},
	}, {
		name: "both close at once",
		samples: []event.Sample{
			closes(client, closing),
			client.step(1001, event.FinWait1, event.Closing, cached(10), since(1000), flags(event.FlagOrphan|event.FlagShutBoth)),
			client.armed(1002, event.TimeWait, 61004),
			client.step(1002.1, event.Closing, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagShutBoth)),
			client.dead(61008, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
			"1001 1 FIN_WAIT1→CLOSING 1 pid=10/cached both by close",
			"1002 1 CLOSING→TIME_WAIT 1 pid=10/cached both by close",
			"61008 1 TIME_WAIT→CLOSE 60006 pid=10/cached both by close [expired 60006 late=4]",
		},
	}, {
		name: "shutdown() keeps the full socket in FIN_WAIT2 until the peer closes",
		samples: []event.Sample{
			closes(client, shutting),
			client.step(1001, event.FinWait1, event.FinWait2, cached(10), since(1000)),
			client.armed(9000, event.TimeWait, 69000),
			client.step(9000.1, event.FinWait2, event.Close, cached(10), since(1001)),
			client.dead(70000, event.TimeWait, 69000, reason(event.ReasonExpired)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by shutdown call=shutdown",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by shutdown",
			"9000 1 FIN_WAIT2→TIME_WAIT 7999 pid=10/cached local by shutdown",
			"70000 1 TIME_WAIT→CLOSE 61000 pid=10/cached local by shutdown [expired 61000 late=1000]",
		},
	}, {
		name: "close() with SO_LINGER 0",
		samples: []event.Sample{
			client.step(1000, event.Established, event.Close, by(10), flags(closing|event.FlagLinger0), since(500)),
		},
		want: []string{"1000 1 ESTABLISHED→CLOSE 500 pid=10/exact local by linger0 call=linger0"},
	}, {
		name: "unread data decides before SO_LINGER 0 does",
		samples: []event.Sample{
			client.step(1000, event.Established, event.Close, by(10), flags(closing|event.FlagLinger0), unread(77), since(500)),
		},
		want: []string{"1000 1 ESTABLISHED→CLOSE 500 pid=10/exact local by unread_data call=unread_data unread=77"},
	}, {
		name: "connect(AF_UNSPEC) resets without shutting down",
		samples: []event.Sample{
			client.step(1000, event.Established, event.Close, by(10), flags(event.FlagCall), since(500)),
		},
		want: []string{"1000 1 ESTABLISHED→CLOSE 500 pid=10/exact local by disconnect call=disconnect"},
	}, {
		name: "the process is killed",
		samples: []event.Sample{
			closes(client, exiting, killed(9)),
		},
		want: []string{"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact sig=9 local by exit call=exit"},
	}, {
		name: "the process exits by itself: the exit status is no signal",
		samples: []event.Sample{
			closes(client, exiting, killed(3<<8)),
		},
		want: []string{"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by exit call=exit"},
	}, {
		name: "a signal that is pending does not count while the caller lives",
		samples: []event.Sample{
			closes(client, closing, killed(9)),
		},
		want: []string{"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close"},
	}, {
		name: "RST from the peer; the owner lets go later",
		samples: []event.Sample{
			server.step(1000, event.Established, event.Close, cached(20), errno(104), since(500)),
			server.sample(3000, event.KindRelease, []mod{by(20), since(1000), flags(event.FlagCall)}),
		},
		want: []string{
			"1000 2 ESTABLISHED→CLOSE 500 pid=20/cached peer by rst ECONNRESET",
			"3000 release 2 held=2000 pid=20",
		},
	}, {
		name: "RST before accept(); tcp_disconnect() clears the 4-tuple before the socket is released",
		samples: []event.Sample{
			server.step(1000, event.Established, event.Close, errno(104), since(500), flags(event.FlagUnaccepted)),
			server.with(func(e *end) { e.local, e.peer = "0.0.0.0:80", "10.0.0.1:0" }).sample(3000, event.KindRelease, []mod{since(1000)}),
		},
		want: []string{
			"1000 2 ESTABLISHED→CLOSE 500 peer by rst ECONNRESET",
			"3000 release 2 held=2000 pid=0",
		},
	}, {
		name: "RST after the peer's FIN",
		samples: []event.Sample{
			server.step(1000, event.Established, event.CloseWait, cached(20), since(500)),
			server.step(1100, event.CloseWait, event.Close, cached(20), errno(32), since(1000)),
			server.sample(1200, event.KindRelease, []mod{by(20), since(1100), flags(event.FlagCall)}),
		},
		want: []string{
			"1000 2 ESTABLISHED→CLOSE_WAIT 500 pid=20/cached peer by fin",
			"1100 2 CLOSE_WAIT→CLOSE 100 pid=20/cached peer by fin EPIPE",
			"1200 release 2 held=100 pid=20",
		},
	}, {
		name: "the peer falls silent",
		samples: []event.Sample{
			client.step(1000, event.Established, event.Close, cached(10), errno(110), since(500), flags(event.FlagOrphan)),
		},
		want: []string{"1000 1 ESTABLISHED→CLOSE 500 pid=10/cached kernel by timeout ETIMEDOUT"},
	}, {
		name: "a router says that the silent peer is unreachable",
		samples: []event.Sample{
			client.step(1000, event.Established, event.Close, cached(10), errno(113), since(500), flags(event.FlagOrphan)),
		},
		want: []string{"1000 1 ESTABLISHED→CLOSE 500 pid=10/cached kernel by timeout EHOSTUNREACH"},
	}, {
		name: "aborted from outside",
		samples: []event.Sample{
			client.step(1000, event.Established, event.Close, cached(10), errno(103), since(500)),
			client.sample(1100, event.KindRelease, []mod{by(10), since(1000), flags(event.FlagCall)}),
		},
		want: []string{
			"1000 1 ESTABLISHED→CLOSE 500 pid=10/cached kernel by abort ECONNABORTED",
			"1100 release 1 held=100 pid=10",
		},
	}, {
		name: "an orphan's FIN is never acknowledged: we had closed first all the same",
		samples: []event.Sample{
			closes(client, closing),
			client.step(9000, event.FinWait1, event.Close, cached(10), errno(110), since(1000), flags(event.FlagOrphan|event.FlagShutBoth)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
			"9000 1 FIN_WAIT1→CLOSE 8000 pid=10/cached local by close ETIMEDOUT",
		},
	}, {
		name: "the listening socket goes away before accept()",
		samples: []event.Sample{
			server.step(1000, event.Established, event.Close, flags(event.FlagUnaccepted), since(500)),
		},
		want: []string{"1000 2 ESTABLISHED→CLOSE 500 local by listener_close"},
	}, {
		name: "an orphan's FIN_WAIT2 expires: no TIME_WAIT",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.armed(1001.1, event.FinWait2, 61004), replaced(client, 1001.2, event.FinWait2),
			client.dead(61500, event.FinWait2, 61004, reason(event.ReasonExpired)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
			"61500 1 FIN_WAIT2→CLOSE 60499 pid=10/cached local by close orphan=expired",
		},
	}, {
		name: "an RST answers an orphan",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.armed(1001.1, event.FinWait2, 61004), replaced(client, 1001.2, event.FinWait2),
			client.dead(1010, event.FinWait2, 61004),
			client.why(1010.01, event.ReasonReset),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
			"1010 1 FIN_WAIT2→CLOSE 9 pid=10/cached local by close orphan=reset",
		},
	}, {
		name: "retransmitted FINs start the minute anew",
		samples: inTimeWait(client,
			client.armed(5000, event.TimeWait, 65000, flags(event.FlagRequeued)),
			client.armed(5000.1, event.TimeWait, 65000, flags(event.FlagRequeued)), // the same restart, seen by two hooks
			client.armed(9000, event.TimeWait, 69000, flags(event.FlagRequeued)),
			client.dead(70000, event.TimeWait, 69000, reason(event.ReasonExpired))),
		want: afterTimeWait("70000 1 TIME_WAIT→CLOSE 68997 pid=10/cached local by close [expired 68997 late=1000 restarts=2]"),
	}, {
		name: "a segment that does not restart the minute",
		samples: inTimeWait(client,
			client.armed(5000, event.TimeWait, 61004, flags(event.FlagRequeued)),
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired))),
		want: afterTimeWait("61004 1 TIME_WAIT→CLOSE 60001 pid=10/cached local by close [expired 60001 late=0]"),
	}, {
		name: "a restart that only its mark in the timer shows",
		samples: inTimeWait(client,
			client.dead(70000, event.TimeWait, 69000, reason(event.ReasonExpired))),
		want: afterTimeWait("70000 1 TIME_WAIT→CLOSE 68997 pid=10/cached local by close [expired 68997 late=1000 restarts=1 inferred]"),
	}, {
		name: "fentry: the birth comes before the timer is set; the first restart counts",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.armed(1003, event.TimeWait, 0), replaced(client, 1003.1, event.FinWait2),
			client.armed(5000, event.TimeWait, 65000, flags(event.FlagRequeued)),
			client.dead(66000, event.TimeWait, 65000, reason(event.ReasonExpired)),
		},
		want: afterTimeWait("66000 1 TIME_WAIT→CLOSE 64997 pid=10/cached local by close [expired 64997 late=1000 restarts=1]"),
	}, {
		name: "TIME_WAIT entered in silence: the timer tells when",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.armed(1001.1, event.FinWait2, 61004), replaced(client, 1001.2, event.FinWait2),
			client.dead(63000, event.TimeWait, 61600, reason(event.ReasonExpired)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
			"1600 1 FIN_WAIT2→TIME_WAIT 599 pid=10/cached local by close",
			"63000 1 TIME_WAIT→CLOSE 61400 pid=10/cached local by close [expired 61400 late=1400 inferred]",
		},
	}, {
		name: "the timer moves to another bucket: taken off, then set anew, is no end",
		samples: inTimeWait(client,
			client.dead(5000, event.TimeWait, 61004),
			client.armed(5000.02, event.TimeWait, 65000),
			client.dead(66000, event.TimeWait, 65000, reason(event.ReasonExpired))),
		want: afterTimeWait("66000 1 TIME_WAIT→CLOSE 64997 pid=10/cached local by close [expired 64997 late=1000 restarts=1]"),
	}, {
		name: "the same, past the nominal expiry but before the timer wheel served it",
		samples: inTimeWait(client,
			client.dead(61008, event.TimeWait, 61004, reason(event.ReasonExpired)),
			client.armed(61008.02, event.TimeWait, 121008),
			client.dead(122000, event.TimeWait, 121008, reason(event.ReasonExpired))),
		want: afterTimeWait("122000 1 TIME_WAIT→CLOSE 120997 pid=10/cached local by close [expired 120997 late=992 restarts=1]"),
	}, {
		name: "a segment meets a mini-socket that has just expired on another CPU",
		samples: inTimeWait(client,
			client.dead(61008, event.TimeWait, 61004, reason(event.ReasonExpired)),
			client.armed(61008.01, event.TimeWait, 61004, flags(event.FlagRequeued))),
		want: afterTimeWait("61008 1 TIME_WAIT→CLOSE 60005 pid=10/cached local by close [expired 60005 late=4]"),
	}, {
		name: "FIN_WAIT2 to TIME_WAIT in another bucket",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.armed(1001.1, event.FinWait2, 61004), replaced(client, 1001.2, event.FinWait2),
			client.dead(21000, event.TimeWait, 61004),
			client.armed(21000.02, event.TimeWait, 81000),
			client.dead(82000, event.TimeWait, 81000, reason(event.ReasonExpired)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
			"21000.02 1 FIN_WAIT2→TIME_WAIT 19999.02 pid=10/cached local by close",
			"82000 1 TIME_WAIT→CLOSE 60999.98 pid=10/cached local by close [expired 60999.98 late=1000]",
		},
	}, {
		name: "a connect() takes the port over",
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004, reason(event.ReasonConnect), successor(9), by(30))),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [reused_by_connect 1997 successor=9/30]"),
	}, {
		name: "a SYN reopens the connection",
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004),
			client.why(3000.05, event.ReasonSyn)),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [reused_by_syn 1997]"),
	}, {
		name: "a SYN reopens the connection late, before the timer wheel served it",
		samples: inTimeWait(client,
			client.dead(61008, event.TimeWait, 61004, reason(event.ReasonExpired)),
			client.why(61008.05, event.ReasonSyn)),
		want: afterTimeWait("61008 1 TIME_WAIT→CLOSE 60005 pid=10/cached local by close [reused_by_syn 60005]"),
	}, {
		name: "an RST ends TIME_WAIT",
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004),
			client.why(3000.05, event.ReasonReset)),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [reset 1997]"),
	}, {
		name: "the namespace goes away",
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004, reason(event.ReasonNetns))),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [namespace_exit 1997]"),
	}, {
		name: "cut short, and segments are not watched: the reason is not known",
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004)),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [unknown 1997]"),
	}, {
		name: "evidence that comes too late is about something else",
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004),
			client.why(3020, event.ReasonReset)),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [unknown 1997]"),
	}, {
		name: "cut short, segments are watched, and none was an RST: a SYN",
		opt:  Options{SegmentsSeen: true},
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004)),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [reused_by_syn 1997 inferred]"),
	}, {
		name: "cut short inside somebody's system call: not a SYN",
		opt:  Options{SegmentsSeen: true},
		samples: inTimeWait(client,
			client.dead(3000, event.TimeWait, 61004, flags(event.FlagCall))),
		want: afterTimeWait("3000 1 TIME_WAIT→CLOSE 1997 pid=10/cached local by close [unknown 1997]"),
	}, {
		name: "TIME_WAIT older than the trace",
		samples: []event.Sample{
			client.mini(100, event.KindMiniSeen, event.TimeWait, 40100),
			client.dead(41000, event.TimeWait, 40100, reason(event.ReasonExpired)),
		},
		want: []string{"41000 1 TIME_WAIT→CLOSE 60900 [expired 60900 late=900] existed"},
	}, {
		name: "an orphan's FIN_WAIT2 older than the trace: how long it has waited is not known",
		samples: []event.Sample{
			client.mini(100, event.KindMiniSeen, event.FinWait2, 40100),
			client.armed(2000, event.TimeWait, 62000, flags(event.FlagRequeued)),
			client.dead(63000, event.TimeWait, 62000, reason(event.ReasonExpired)),
		},
		want: []string{
			"2000 1 FIN_WAIT2→TIME_WAIT ? local existed",
			"63000 1 TIME_WAIT→CLOSE 61000 local [expired 61000 late=1000] existed",
		},
	}, {
		name: "a connection older than the trace",
		samples: []event.Sample{
			client.sample(100, event.KindSockSeen, []mod{in(event.Established)}),
			client.step(1000, event.Established, event.FinWait1, by(10), flags(closing)),
		},
		want: []string{"1000 1 ESTABLISHED→FIN_WAIT1 ? pid=10/exact local by close call=close existed"},
	}, {
		name: "older than the trace, and half closed: CLOSE_WAIT proves that the peer was first",
		samples: []event.Sample{
			server.sample(100, event.KindSockSeen, []mod{in(event.CloseWait)}),
			server.step(1000, event.CloseWait, event.LastAck, by(20), flags(closing)),
			server.step(1001, event.LastAck, event.Close, cached(20), since(1000), flags(event.FlagOrphan|event.FlagShutBoth)),
		},
		want: []string{
			"1000 2 CLOSE_WAIT→LAST_ACK ? pid=20/exact peer by fin call=close existed",
			"1001 2 LAST_ACK→CLOSE 1 pid=20/cached peer by fin existed",
		},
	}, {
		name: "older than the trace, and half closed: FIN_WAIT2 proves that we were first",
		samples: []event.Sample{
			client.sample(100, event.KindSockSeen, []mod{in(event.FinWait2)}),
			client.armed(1003, event.TimeWait, 61004),
			client.step(1003.1, event.FinWait2, event.Close, cached(10)),
			client.dead(62000, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: []string{
			"1003 1 FIN_WAIT2→TIME_WAIT ? pid=10/cached local existed",
			"62000 1 TIME_WAIT→CLOSE 60997 pid=10/cached local [expired 60997 late=996] existed",
		},
	}, {
		name: "older than the trace, and closed by both at once",
		samples: []event.Sample{
			client.sample(100, event.KindSockSeen, []mod{in(event.FinWait1)}),
			client.step(1001, event.FinWait1, event.Closing, cached(10)),
		},
		want: []string{"1001 1 FIN_WAIT1→CLOSING ? pid=10/cached both existed"},
	}, {
		name: "TCP Fast Open: accepted and closed in SYN_RECV",
		samples: []event.Sample{
			server.step(1000, event.SynRecv, event.FinWait1, by(20), flags(closing), since(999)),
		},
		want: []string{"1000 2 SYN_RECV→FIN_WAIT1 1 pid=20/exact local by close call=close"},
	}, {
		name: "tcp_max_tw_buckets reached",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.step(1003, event.FinWait2, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagShutBoth|event.FlagFull)),
		},
		want: []string{
			inTimeWaitLines[0], inTimeWaitLines[1],
			"1003 1 FIN_WAIT2→CLOSE 2 pid=10/cached local by close [overflow 0]",
		},
	}, {
		name: "tcp_max_tw_buckets reached by close() after shutdown()",
		samples: []event.Sample{
			closes(client, shutting),
			client.step(1001, event.FinWait1, event.FinWait2, cached(10), since(1000)),
			client.step(2000, event.FinWait2, event.Close, by(10), since(1001), flags(closing|event.FlagOrphan|event.FlagFull)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by shutdown call=shutdown",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by shutdown",
			"2000 1 FIN_WAIT2→CLOSE 999 pid=10/exact local by shutdown call=close [overflow 0]",
		},
	}, {
		name: "refused, as the fentry probe sees it: by memory too",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.mini(1002.9, event.KindRefused, event.TimeWait, 0),
			client.step(1003, event.FinWait2, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagShutBoth)),
		},
		want: []string{
			inTimeWaitLines[0], inTimeWaitLines[1],
			"1003 1 FIN_WAIT2→CLOSE 2 pid=10/cached local by close [overflow 0]",
		},
	}, {
		name: "TCP_LINGER2 < 0 forbids an orphan's FIN_WAIT2",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.step(1001.1, event.FinWait2, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagShutBoth|event.FlagLinger2)),
		},
		want: []string{
			inTimeWaitLines[0], inTimeWaitLines[1],
			"1001.1 1 FIN_WAIT2→CLOSE 0.1 pid=10/cached local by close call=linger2",
		},
	}, {
		name: "TCP_LINGER2 < 0 says nothing of a socket that is not an orphan",
		samples: []event.Sample{
			closes(client, shutting),
			client.step(1001, event.FinWait1, event.FinWait2, cached(10), since(1000)),
			client.step(2000, event.FinWait2, event.Close, cached(10), since(1001), flags(event.FlagLinger2|event.FlagFull)),
		},
		want: []string{
			"1000 1 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by shutdown call=shutdown",
			"1001 1 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by shutdown",
			"2000 1 FIN_WAIT2→CLOSE 999 pid=10/cached local by shutdown [overflow 0]",
		},
	}, {
		name: "data after close()",
		samples: []event.Sample{
			closes(client, closing), acked(client),
			client.step(1003, event.FinWait2, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagShutBoth)),
		},
		want: []string{
			inTimeWaitLines[0], inTimeWaitLines[1],
			"1003 1 FIN_WAIT2→CLOSE 2 pid=10/cached local by close call=data_after_close",
		},
	}, {
		name: "connect() finds no free local port",
		samples: []event.Sample{
			client.step(1000, event.SynSent, event.Close, by(10), flags(event.FlagCall), since(999.9), fromPort(0)),
			client.sample(1000.1, event.KindConnectError, []mod{by(10), errno(99), fromPort(0)}),
		},
		want: []string{
			"1000 1 SYN_SENT→CLOSE 0.1 pid=10/exact EADDRNOTAVAIL",
			"1000 connect 10.0.0.1:0→10.0.0.2:80 pid=10 EADDRNOTAVAIL",
		},
	}, {
		name: "connect() from a port that is taken",
		samples: []event.Sample{
			client.step(1000, event.SynSent, event.Close, by(10), flags(event.FlagCall), since(999.9)),
			client.with(func(e *end) { e.peer = "10.0.0.2:0" }).sample(1000.1, event.KindConnectError, []mod{by(10), errno(99)}),
		},
		want: []string{
			"1000 1 SYN_SENT→CLOSE 0.1 pid=10/exact",
			"1000.1 connect 10.0.0.1:5000→10.0.0.2:0 pid=10 EADDRNOTAVAIL",
		},
	}, {
		name: "connect() is refused",
		samples: []event.Sample{
			client.step(1000, event.SynSent, event.Close, cached(10), errno(111), since(999), idle(1<<20)), // no data, ever
		},
		want: []string{
			"1000 1 SYN_SENT→CLOSE 1 pid=10/cached ECONNREFUSED",
			"1000 connect 10.0.0.1:5000→10.0.0.2:80 pid=10 ECONNREFUSED",
		},
	}, {
		name: "close() while connecting",
		samples: []event.Sample{
			client.step(1000, event.SynSent, event.Close, by(10), flags(closing), since(500)),
		},
		want: []string{"1000 1 SYN_SENT→CLOSE 500 pid=10/exact call=close"},
	}, {
		name: "CPUs report out of order",
		samples: []event.Sample{
			acked(client), closes(client, closing),
			replaced(client, 1003.1, event.FinWait2), client.armed(1003, event.TimeWait, 61004),
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: afterTimeWait("61004 1 TIME_WAIT→CLOSE 60001 pid=10/cached local by close [expired 60001 late=0]"),
	}, {
		name: "a step seen twice",
		samples: []event.Sample{
			closes(client, closing), closes(client, closing), acked(client), acked(client),
		},
		want: inTimeWaitLines[:2],
	}, {
		name: "the last step seen twice",
		samples: inTimeWait(client,
			replaced(client, 1003.1, event.FinWait2),
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired))),
		want: afterTimeWait("61004 1 TIME_WAIT→CLOSE 60001 pid=10/cached local by close [expired 60001 late=0]"),
	}, {
		name: "a socket that shutdown() left in TIME_WAIT is connected again, to another peer",
		samples: inTimeWait(client,
			client.with(func(e *end) { e.peer = "10.0.0.3:80" }).step(3000, event.Established, event.Close, by(10), since(2500), flags(closing|event.FlagLinger0)),
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired))),
		want: append(afterTimeWait("3000 1 ESTABLISHED→CLOSE 500 pid=10/exact local by linger0 call=linger0"),
			"61004 1 TIME_WAIT→CLOSE 60001 pid=10/cached local by close [expired 60001 late=0]"),
	}, {
		name: "the same, from the same port to the same peer",
		samples: inTimeWait(client,
			client.dead(2400, event.TimeWait, 61004, reason(event.ReasonConnect), successor(1), by(10)),
			client.step(3000, event.Established, event.Close, cached(10), since(2500), errno(104)),
			client.step(4000, event.Established, event.Close, cached(10), since(3500), errno(104)),
			client.sample(5000, event.KindRelease, []mod{by(10), since(4000)})),
		want: append(afterTimeWait("2400 1 TIME_WAIT→CLOSE 1397 pid=10/cached local by close [reused_by_connect 1397 successor=1/10]"),
			"3000 1 ESTABLISHED→CLOSE 500 pid=10/cached peer by rst ECONNRESET",
			"4000 1 ESTABLISHED→CLOSE 500 pid=10/cached peer by rst ECONNRESET",
			"5000 release 1 held=1000 pid=10"),
	}, {
		name: "a lost step",
		samples: []event.Sample{
			closes(client, closing),
			client.step(1003, event.FinWait2, event.Close, cached(10), since(1001), flags(event.FlagOrphan|event.FlagFull)),
		},
		want: []string{
			inTimeWaitLines[0],
			"1003 1 FIN_WAIT2→CLOSE 2 pid=10/cached local by close [overflow 0] incomplete",
		},
	}, {
		name: "a lost step before TIME_WAIT",
		samples: []event.Sample{
			closes(client, closing),
			client.armed(1003, event.TimeWait, 61004), replaced(client, 1003.1, event.FinWait2),
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: []string{
			inTimeWaitLines[0],
			"1003 1 FIN_WAIT1→TIME_WAIT 3 pid=10/exact local by close incomplete",
			"61004 1 TIME_WAIT→CLOSE 60001 pid=10/cached local by close [expired 60001 late=0]",
		},
	}, {
		name: "a mini-socket whose connection was lost",
		samples: []event.Sample{
			client.armed(1003, event.TimeWait, 61004),
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: []string{
			"1003 1 FIN_WAIT2→TIME_WAIT ? incomplete",
			"61004 1 TIME_WAIT→CLOSE 60001 [expired 60001 late=0]",
		},
	}, {
		name: "a mini-socket of which only the end was seen",
		samples: []event.Sample{
			client.dead(61004, event.TimeWait, 61004, reason(event.ReasonExpired)),
		},
		want: []string{"61004 1 TIME_WAIT→CLOSE ? [expired ? late=0] incomplete"},
	},
}

// quiet is one that kernels before 5.12 give no cookie to.
var quiet = client.with(func(e *end) { e.cookie = 0 })

func TestFlow(t *testing.T) {
	for _, sc := range scenarios {
		for name, every := range map[string]ms{"portions": 40, "each": 0} {
			t.Run(sc.name+"/"+name, func(t *testing.T) {
				var got trace
				sc.opt.Tick = tick
				f := New(&got, sc.opt)
				run(t, f, every, append([]event.Sample(nil), sc.samples...))
				if diff := cmp.Diff(sc.want, got.lines); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestWithoutCookie: the 4-tuple alone joins a mini-socket with the socket that it replaced.
func TestWithoutCookie(t *testing.T) {
	var got trace
	f := New(&got, Options{Tick: tick})
	other := quiet.with(func(e *end) { e.netns = 2; e.sock = 0x3000 })
	run(t, f, 40, inTimeWait(quiet,
		// The freed socket's memory serves another connection, which ends in the meantime.
		quiet.with(func(e *end) { e.local = "10.0.0.1:6000" }).step(2000, event.Established, event.Close, by(11), flags(closing|event.FlagLinger0), since(1990)),
		// The same 4-tuple in another namespace is another connection.
		other.step(2500, event.Established, event.FinWait1, by(12), flags(closing), since(2400)),
		other.step(2501, event.FinWait1, event.FinWait2, cached(12), since(2500), flags(event.FlagOrphan)),
		other.armed(2502, event.TimeWait, 62500),
		other.step(2502.1, event.FinWait2, event.Close, cached(12), since(2501), flags(event.FlagOrphan)),
		other.dead(3000, event.TimeWait, 62500, reason(event.ReasonNetns)),
		quiet.dead(62000, event.TimeWait, 61004, reason(event.ReasonExpired)),
	))
	want := []string{
		"1000 0 ESTABLISHED→FIN_WAIT1 500 pid=10/exact local by close call=close",
		"1001 0 FIN_WAIT1→FIN_WAIT2 1 pid=10/cached local by close",
		"1003 0 FIN_WAIT2→TIME_WAIT 2 pid=10/cached local by close",
		"2000 0 ESTABLISHED→CLOSE 10 pid=11/exact local by linger0 call=linger0",
		"2500 0 ESTABLISHED→FIN_WAIT1 100 pid=12/exact local by close call=close",
		"2501 0 FIN_WAIT1→FIN_WAIT2 1 pid=12/cached local by close",
		"2502 0 FIN_WAIT2→TIME_WAIT 1 pid=12/cached local by close",
		"3000 0 TIME_WAIT→CLOSE 498 pid=12/cached local by close [namespace_exit 498]",
		"62000 0 TIME_WAIT→CLOSE 60997 pid=10/cached local by close [expired 60997 late=996]",
	}
	if diff := cmp.Diff(want, got.lines); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{}, leftovers(f)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

// TestNumbered: a socket has a number of finwait's own, its mini-socket's later samples have
// none, with or without one at the birth (fentry knows both sockets there, the timer one).
func TestNumbered(t *testing.T) {
	numbered := client.with(func(e *end) { e.cookie = 1<<63 | 7 })
	for name, born := range map[string]end{"fentry": numbered, "timer": quiet} {
		t.Run(name, func(t *testing.T) {
			var got trace
			f := New(&got, Options{Tick: tick, SegmentsSeen: true})
			run(t, f, 40, []event.Sample{
				closes(numbered, closing), acked(numbered), born.armed(1003, event.FinWait2, 61004),
				replaced(numbered, 1003.1, event.FinWait2),
				quiet.armed(1500, event.TimeWait, 61500, flags(event.FlagRequeued)),
				quiet.dead(61600, event.TimeWait, 61500, reason(event.ReasonExpired)),
			})
			if i := got.last.TimeWait; len(got.lines) != 4 || i == nil || i.End != event.EndExpired || got.last.Incomplete || got.last.Process.PID != 10 {
				t.Errorf("records:\n%s\nwant four, and TIME_WAIT to expire", strings.Join(got.lines, "\n"))
			}
			if diff := cmp.Diff(map[string]int{}, leftovers(f)); diff != "" {
				t.Errorf("left over (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLossy: once samples are missing, the absence of a segment proves nothing.
func TestLossy(t *testing.T) {
	var got trace
	f := New(&got, Options{Tick: tick, SegmentsSeen: true})
	f.Lossy()
	run(t, f, 40, inTimeWait(client, client.dead(3000, event.TimeWait, 61004)))
	if i := got.last.TimeWait; i == nil || i.End != event.EndUnknown || i.Inferred {
		t.Errorf("time_wait = %+v, want an unknown end that nobody inferred", i)
	}
}

// TestNothingLeft: whatever a connection went through, when it is over nothing is remembered of it.
func TestNothingLeft(t *testing.T) {
	over := map[event.State]bool{event.Close: true}
	for _, sc := range scenarios {
		last := sc.samples[len(sc.samples)-1]
		if last.Kind == event.KindTransition && !over[last.New] {
			continue // the scenario ends before the connection does
		}
		t.Run(sc.name, func(t *testing.T) {
			sc.opt.Tick = tick
			f := New(&trace{}, sc.opt)
			run(t, f, 40, append([]event.Sample(nil), sc.samples...))
			if diff := cmp.Diff(map[string]int{}, leftovers(f)); diff != "" {
				t.Errorf("left over (-want +got):\n%s", diff)
			}
			if s := f.Stats(); s.Conns != 0 || s.TimeWaits != 0 {
				t.Errorf("stats = %+v, want no connections and no mini-sockets", s)
			}
		})
	}
}

func TestStats(t *testing.T) {
	var samples []event.Sample
	samples = append(samples, inTimeWait(client, client.dead(62000, event.TimeWait, 61004, reason(event.ReasonExpired)))...)
	full := client.with(func(e *end) { e.cookie, e.sock, e.local = 3, 0x3000, "10.0.0.1:5003" })
	samples = append(samples,
		full.step(62010, event.FinWait2, event.Close, flags(event.FlagOrphan|event.FlagFull)),
		closes(full.with(func(e *end) { e.cookie, e.sock, e.local = 4, 0x4000, "10.0.0.1:5004" }), closing),
	)
	open := client.with(func(e *end) { e.cookie, e.sock, e.local = 5, 0x5000, "10.0.0.1:5005" })
	again := acked(open)
	samples = append(samples, acked(open), again, open.armed(62020, event.FinWait2, 99000))
	f := New(&trace{}, Options{Tick: tick})
	run(t, f, 40, samples)
	want := Stats{Samples: 10, Conns: 2, TimeWaits: 1, Born: 2, Refused: 1, Duplicates: 1}
	want.Ended[event.EndExpired] = 1
	if diff := cmp.Diff(want, f.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

// TestEvict: more connections than there is room for are dropped, counted, and cost no more memory.
func TestEvict(t *testing.T) {
	f := New(&trace{}, Options{Tick: tick, MaxConns: 4})
	for i := range 100 {
		e := client.with(func(e *end) { e.cookie, e.sock = uint64(i+1), uint64(i+1)<<12 })
		s := e.armed(1000+ms(i), event.TimeWait, 61004)
		if err := f.Sample(&s); err != nil {
			t.Fatal(err)
		}
		if err := f.Advance(s.KTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	s := f.Stats()
	if s.Conns != 4 || s.TimeWaits != 4 || s.Evicted != 96 {
		t.Errorf("conns %d, mini-sockets %d, evicted %d; want 4, 4, 96", s.Conns, s.TimeWaits, s.Evicted)
	}
	n := 0
	f.tuples.each(func(*conn) { n++ })
	if n != 4 {
		t.Errorf("%d connections are indexed, want 4", n)
	}
}

// TestOrder: records come in the order of time, even where an end waits for its reason.
func TestOrder(t *testing.T) {
	other := client.with(func(e *end) { e.cookie, e.sock, e.local = 3, 0x3000, "10.0.0.1:5003" })
	again := client.with(func(e *end) { e.cookie, e.sock, e.local = 4, 0x4000, "10.0.0.1:5004" })
	samples := []event.Sample{
		client.armed(1000, event.TimeWait, 61000), again.armed(1001, event.TimeWait, 61000),
		client.dead(61000, event.TimeWait, 61000, reason(event.ReasonExpired)),
		client.armed(61000.1, event.TimeWait, 121000),
		again.dead(61001, event.TimeWait, 61000, reason(event.ReasonExpired)),
		other.step(61002, event.Established, event.FinWait1, by(10), flags(closing), since(2000)),
		client.dead(61004, event.TimeWait, 121000),
		client.why(61004.1, event.ReasonSyn),
		other.step(61006, event.FinWait1, event.Close, cached(10), errno(104), since(61002), flags(event.FlagOrphan)),
	}
	got := trace{}
	newest := int64(math.MinInt64)
	got.check = func(tr *event.Transition) {
		if tr.KTime < newest {
			t.Errorf("%s after a record of %s", line(tr), at(newest))
		}
		newest = max(newest, tr.KTime)
	}
	run(t, New(&got, Options{Tick: tick}), 40, samples)
	if len(got.lines) != 6 {
		t.Errorf("%d records, want 6:\n%v", len(got.lines), got.lines)
	}
}

func TestOpenTimeWaits(t *testing.T) {
	orphan := client.with(func(e *end) { e.cookie, e.sock, e.local = 3, 0x3000, "10.0.0.1:5003" })
	old := client.with(func(e *end) { e.cookie, e.sock, e.local = 4, 0x4000, "10.0.0.1:5004" })
	f := New(&trace{}, Options{Tick: tick})
	samples := append([]event.Sample{old.mini(100, event.KindMiniSeen, event.TimeWait, 60400)}, inTimeWait(client,
		client.armed(5000, event.TimeWait, 65000, flags(event.FlagRequeued)))...)
	samples = append(samples, orphan.step(6000, event.FinWait1, event.FinWait2, cached(10), since(5999)), orphan.armed(6000.1, event.FinWait2, 66000))
	run(t, f, 40, samples)
	var got []string
	add := func(t *event.Transition) error { got = append(got, line(t)); return nil }
	if err := f.OpenTimeWaits(ktime(10000), add); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"10000 4 TIME_WAIT→CLOSE 9600 [open 9600] existed",
		"10000 1 TIME_WAIT→CLOSE 8997 pid=10/cached local by close [open 8997 restarts=1]",
		"10000 3 FIN_WAIT2→CLOSE 4000 pid=10/cached local orphan=open",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
	stop := errors.New("stop")
	if err := f.OpenTimeWaits(ktime(10000), func(*event.Transition) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error = %v, want the callback's", err)
	}
}

type failing struct{ trace }

var errSink = errors.New("sink")

func (*failing) Transition(*event.Transition) error { return errSink }

func TestHandlerError(t *testing.T) {
	f := New(&failing{}, Options{Tick: tick})
	s := closes(client, closing)
	if err := f.Sample(&s); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); !errors.Is(err, errSink) {
		t.Errorf("Flush = %v, want the handler's error", err)
	}
}

// names counts how often each process is looked up.
type names map[uint32]int

func (n names) Name(p *event.Process, cgroup uint64) {
	n[p.PID]++
	p.Exe = "/bin/p"
	if cgroup != 0 {
		p.Cgroup = "/c"
	}
}

func TestNamer(t *testing.T) {
	var got trace
	n := names{}
	f := New(&got, Options{Tick: tick, Namer: n})
	run(t, f, 40, inTimeWait(client))
	if diff := cmp.Diff(names{10: 1}, n); diff != "" {
		t.Errorf("look-ups (-want +got):\n%s", diff)
	}
	if p := got.last.Process; p.Exe != "/bin/p" || p.Cgroup != "" {
		t.Errorf("process = %+v, want its program file and no cgroup", p)
	}
}

// TestProcessesBounded: of many processes those that a connection has stay as they are, and the
// others are forgotten.
func TestProcessesBounded(t *testing.T) {
	f := New(&trace{}, Options{})
	st, ps := f.store, &f.procs
	var s event.Sample
	by(1)(&s)
	held := map[*conn]uint32{}
	for i := range 3 * maxProcesses {
		s.Owner.PID, s.Owner.TID = uint32(i+1), uint32(i+1)
		n := ps.intern(&s)
		if i%1000 == 0 {
			c := st.take()
			*[]*name{&c.owner, &c.next, &c.peer}[i/1000%3] = n
			held[c] = uint32(i + 1)
		}
	}
	if len(ps.byKey) > maxProcesses || len(ps.list) > maxProcesses+1 {
		t.Errorf("%d processes remembered in %d places, want at most %d", len(ps.byKey), len(ps.list), maxProcesses)
	}
	for c, pid := range held {
		if p := ps.at(c.owner + c.next + c.peer); p.PID != pid {
			t.Errorf("process %d, which is in use, changed to %+v", pid, p)
		}
		s.Owner.PID, s.Owner.TID = pid, pid
		if n := ps.intern(&s); n != c.owner+c.next+c.peer {
			t.Errorf("process %d, which is in use, got another name", pid)
		}
	}
}
