// SPDX-License-Identifier: Apache-2.0

// Package cases has the tests of docs/cases: what people really have with TIME_WAIT, made
// with the servers that they have it with. It has no code of its own.
//
// A case builds hosts, which are network namespaces on one bridge, starts Debian's servers
// in them, loads them with wrk, ab, curl or a small client of its own, and uses the program
// finwait as a user would: record, report, replay. It asserts what its page says twice,
// from the trace and from the servers' own logs, or the kernel's counters.
//
// A page is testdata/NAME.md, a text/template, with the blocks that the test has run: each
// command as it was run, and what came out. -update writes docs/cases/NAME.md; without it
// the test makes the page again and compares it, numbers and times aside. So neither commands nor
// words can go out of date; and what the numbers have to show is asserted.
//
// One file, one noun: network, host, server, nginx, tomcat, haproxy, podman, finwait (the
// program), trace, page, trim, mask; client, and the programs that it can be; and the cases.
package cases
