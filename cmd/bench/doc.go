// SPDX-License-Identifier: Apache-2.0

// Command bench measures what tracing costs, finwait beside its peers (tcpstates and
// tcplife of libbpf-tools, a bpftrace one-liner), in one run on one machine, and prints
// the table of docs/cost.md.
//
// Machines are shared and noisy, so nothing here is an absolute truth: contenders take
// turns within a round of seconds, each figure is a ratio of one round, and what is shown
// is the median with the least and the most of all rounds.
//
// The load is the same for all: a process in a network namespace of its own, with one
// thread per CPU, each opening and closing TCP connections to itself as fast as it can.
// One connection is ten state changes, one TIME_WAIT, and nothing else: no payload, no
// waiting. A tracer costs more beside it than beside anything that does real work.
//
// Nothing here judges: a figure that misses its goal is printed as it is.
package main
