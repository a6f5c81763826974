// SPDX-License-Identifier: Apache-2.0

// Package flow turns samples into verdicts: who closed first and how, how long each
// state lasted, how TIME_WAIT went and why it ended, and which process is at the
// other end when that is on this host.
//
// It is pure: no kernel, no clock of its own, no goroutines. Time is what the
// samples and Advance say. Its tables are bounded; what falls out is counted. The
// same samples give the same verdicts, live or from a file.
package flow
