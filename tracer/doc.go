// SPDX-License-Identifier: Apache-2.0

// Package tracer turns what the kernel does into samples: it loads the programs of
// package bpf, attaches them by whichever way this kernel allows, lists what already
// exists, reads the ring and counts every loss.
//
// It knows neither verdicts nor outputs, and it does not log: it returns facts,
// errors and counters. A [Tracer] is used from one goroutine at a time; Run calls
// its [Handler] on the goroutine that called Run, and starts none that outlive it.
package tracer
