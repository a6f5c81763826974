// SPDX-License-Identifier: Apache-2.0

// Package workload closes TCP connections in every way Linux knows, in a network
// namespace of its own, and keeps a ledger of what was done: by which process, with
// which call, on which 4-tuple, and what becomes of TIME_WAIT. Tests and the demo hold
// a trace against that ledger, and the ledger against the kernel's own counters.
//
// A [Lab] is the namespace and its worker processes. The workers are re-executions of
// the running binary, so a program that uses a Lab must call [Main] before anything
// else. Workers are real processes because ownership is what is being tested: the
// process that connected, the one that accepted and the one that closed must differ.
// They use blocking system calls on plain descriptors; the Go network poller would
// make calls of its own at moments nobody asked for.
//
// The package must not know the tracer: it says what happened, never what a trace
// should look like. It touches nothing outside its namespace: sysctls, addresses and
// sockets are all made by a thread, or by processes, that live in it.
//
// Goroutines: one goroutine is locked to the thread inside the namespace until
// [Lab.Close]. Run and Storm may not be called at the same time on one Lab; everything
// they start has ended when they return. When a context ends in the middle of either,
// the workers are killed and the Lab is good for nothing but Close.
package workload
