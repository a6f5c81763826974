// SPDX-License-Identifier: Apache-2.0

// Package trace keeps traces in files: it writes them, compressed by the file's name,
// flushed often enough that a killed recorder loses little, and split into parts; and it
// reads them, whatever they are compressed with, wherever they are cut, and several of
// them merged in the order of time.
//
// The records themselves are package jsonl's business. The compressor of a [Writer] works
// on goroutines of its own until Close; a [Writer] and a [Merge] are each for one
// goroutine at a time. Time is passed in.
package trace
