// SPDX-License-Identifier: Apache-2.0

// Package privilege knows which of Linux's capabilities finwait uses, for what, and what
// each one that is missing costs; and it gives them up.
//
// It knows nothing of BPF, and starts no goroutines. [Drop] acts on every thread of the
// process, at once.
package privilege
