// SPDX-License-Identifier: Apache-2.0

// Package html writes a report as one page that needs nothing else: no network, no
// fonts, no files. It is readable on a phone, in the dark, and printed.
//
// What comes from a trace, names of processes and hosts above all, is untrusted: it gets
// into the page by html/template alone, and the page's own policy forbids what would
// fetch or run anything that was not written here.
package html
