// SPDX-License-Identifier: Apache-2.0

// Package jsonl writes records as JSON Lines, one object a line, and reads them back,
// both without allocating for a record. Unknown is absent, never a zero or a guess;
// durations are integer nanoseconds. [Schema] says what a record can hold.
//
// It knows nothing of files and compression; see package trace. It starts no goroutines.
// A [Writer] and a [Reader] are each for one goroutine at a time.
package jsonl
