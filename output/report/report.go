// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"
)

// Report is what one or more traces come to: plain data, the same for every output.
// Durations are integer nanoseconds, times are UTC, what is not known is absent.
type Report struct {
	Trace    Completeness `json:"trace"`
	Totals   Totals       `json:"totals"`
	Closers  []Closers    `json:"who_closed_first"`
	TimeWait []TimeWait   `json:"time_wait"`
	Ports    []Ports      `json:"port_budget"`
	Failures []Failure    `json:"failed_connects"`
	Lasting  []Lasting    `json:"lasting_states"`
	Existing []Existing   `json:"before_the_trace"`
	Findings []Finding    `json:"findings"`
	Worst    []Connection `json:"worst_connections"`
	Limits   Limits       `json:"limits"`
}

// Completeness says whether the trace is whole.
type Completeness struct {
	Complete bool   `json:"complete"`
	Files    []File `json:"files"`
}

// File is one recording.
type File struct {
	Name     string            `json:"name"`
	Host     string            `json:"host,omitempty"`
	Kernel   string            `json:"kernel,omitempty"`
	Version  string            `json:"version,omitempty"`
	Probe    string            `json:"time_wait_probe,omitempty"`
	From     time.Time         `json:"from"`
	Elapsed  time.Duration     `json:"elapsed_ns"`
	Records  uint64            `json:"records"`
	Complete bool              `json:"complete"`
	Missing  []string          `json:"missing,omitempty"` // why it is not
	Lost     map[string]uint64 `json:"lost"`
	Checks   []Check           `json:"kernel_counters,omitempty"`
}

// Check is one of the kernel's counters beside finwait's.
type Check struct {
	NetNS   uint32 `json:"netns"`
	Counter string `json:"counter"`
	Kernel  int64  `json:"kernel"`
	Ours    int64  `json:"ours"`
	Unsure  int64  `json:"unsure,omitempty"` // how far apart they may be
	Agree   bool   `json:"agree"`
}

// Totals is the whole in a few numbers.
type Totals struct {
	Transitions uint64 `json:"transitions"`
	Connections uint64 `json:"connections"` // both ends on this host count once
	Ends        uint64 `json:"connection_ends"`
	Failed      uint64 `json:"failed_connects"`
	Born        uint64 `json:"time_waits"`
}

// Program is one or more processes of the same name, in the same container.
type Program struct {
	Comm      string   `json:"comm,omitempty"`
	Container string   `json:"container,omitempty"`
	Exe       string   `json:"exe,omitempty"`
	PIDs      []uint32 `json:"pids,omitempty"`
	More      bool     `json:"more_pids,omitempty"`
}

// Closers says who closed first, for a program's connections with one peer.
type Closers struct {
	Host      string            `json:"host,omitempty"`
	NetNS     uint32            `json:"netns,omitempty"`
	Process   Program           `json:"process"`
	Role      string            `json:"role,omitempty"`
	Peer      string            `json:"peer"`
	LocalPort uint16            `json:"local_port,omitempty"` // of a server
	Closes    uint64            `json:"closes"`
	SameHost  uint64            `json:"same_host"`              // of them: the other end is counted too, in its own row
	Mate      *Program          `json:"peer_process,omitempty"` // the one program at the other ends, when that is on this host
	Closers   map[string]uint64 `json:"closers"`
	Aborted   uint64            `json:"aborted"`
	Methods   map[string]uint64 `json:"methods"`
	Lifetime  *time.Duration    `json:"mean_lifetime_ns,omitempty"`
}

// TimeWait is what TIME_WAIT cost a host.
type TimeWait struct {
	Host     string            `json:"host,omitempty"`
	Born     uint64            `json:"born"`
	Ports    uint64            `json:"keep_local_port"` // of them: connect() was called here
	Live     int64             `json:"live"`
	Peak     int64             `json:"peak"`
	PeakAt   *time.Time        `json:"peak_at,omitempty"`
	Length   *Length           `json:"length,omitempty"`
	Late     *Length           `json:"timer_late,omitempty"`
	Ends     map[string]uint64 `json:"end_reasons"`
	Restarts uint64            `json:"restarts"`
	Restart  uint64            `json:"restarted"`
	Timeline *Timeline         `json:"timeline,omitempty"`
	Bars     []Bar             `json:"length_distribution,omitempty"`
}

// Length summarizes durations, to a thousandth of their value.
type Length struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// Bar is how many lengths were in a range.
type Bar struct {
	From  time.Duration `json:"from_ns"`
	To    time.Duration `json:"to_ns"`
	Count uint64        `json:"count"`
}

// Timeline is a number over time, at the ends of equal steps.
type Timeline struct {
	From   time.Time     `json:"from"`
	Step   time.Duration `json:"step_ns"`
	Values []int64       `json:"values"`
}

// Ports is how much of an ephemeral port range is spent on one peer.
type Ports struct {
	Host      string         `json:"host,omitempty"`
	NetNS     uint32         `json:"netns,omitempty"`
	Local     string         `json:"local_address"`
	Peer      string         `json:"peer"`
	Process   Program        `json:"process"`
	Range     string         `json:"ip_local_port_range,omitempty"`
	Capacity  int64          `json:"ports,omitempty"`
	Now       int64          `json:"used_now"`
	Peak      int64          `json:"used_at_peak"`
	PeakAt    *time.Time     `json:"peak_at,omitempty"`
	Taken     uint64         `json:"taken"`
	Reused    uint64         `json:"reused_in_time_wait"`
	Rate      float64        `json:"per_second"`
	Level     float64        `json:"levels_off_at"`
	FailsIn   *time.Duration `json:"fails_in_ns,omitempty"`
	ByReuse   bool           `json:"lasts_by_reuse,omitempty"` // because connect() takes ports over from TIME_WAIT
	Failed    uint64         `json:"failed_connects"`
	FirstFail *time.Time     `json:"first_failed_at,omitempty"`
	Timeline  *Timeline      `json:"timeline,omitempty"`

	budget *ports // for findings
	host   *host
}

// PeakShare is the share of the range that was used at peak; 0 when the range is not known.
func (p *Ports) PeakShare() float64 {
	if p.Capacity == 0 {
		return 0
	}
	return float64(p.Peak) / float64(p.Capacity)
}

// Failure counts connects that failed, by error.
type Failure struct {
	Host  string `json:"host,omitempty"`
	Error string `json:"error"`
	Count uint64 `json:"count"`
}

// Lasting is a state that connections of a program do not leave.
type Lasting struct {
	Host     string        `json:"host,omitempty"`
	State    string        `json:"state"`
	Process  Program       `json:"process"`
	Role     string        `json:"role,omitempty"`
	Entered  uint64        `json:"entered"`
	Long     uint64        `json:"lasted"`     // longer than ten seconds, and over
	Open     uint64        `json:"still_open"` // longer than ten seconds, and not
	NeverFin uint64        `json:"peer_never_sent_fin,omitempty"`
	Longest  time.Duration `json:"longest_ns"`
}

// Existing is what a host had before its trace began.
type Existing struct {
	Host      string `json:"host,omitempty"`
	Sockets   int    `json:"sockets"`
	TimeWaits int64  `json:"time_waits"`
	Ended     uint64 `json:"ended_in_trace"`
}

// Connection is one of the worst.
type Connection struct {
	Host    string    `json:"host,omitempty"`
	Time    time.Time `json:"time"`
	Process Program   `json:"process"`
	NetNS   uint32    `json:"netns,omitempty"`
	Role    string    `json:"role,omitempty"`
	Local   string    `json:"local"`
	Peer    string    `json:"peer"`
	Closer  string    `json:"closer,omitempty"`
	Method  string    `json:"method,omitempty"`
	Why     string    `json:"why"`
}

// Limits counts what the bounded tables could not hold. Totals are right all the same,
// except for connections: the rest of an evicted one is missing.
type Limits struct {
	Connections uint64 `json:"connections_evicted"`
	Peers       uint64 `json:"peers_folded"`
	Budgets     uint64 `json:"port_budgets_evicted"`
	Programs    uint64 `json:"programs_folded"`
}
