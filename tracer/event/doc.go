// SPDX-License-Identifier: Apache-2.0

// Package event holds finwait's facts as Go types: the [Sample] that the kernel
// side reports, and the records that users see.
//
// It imports the standard library only and starts no goroutines. Values are plain
// data; whoever is handed a pointer may read it until the call returns.
package event
