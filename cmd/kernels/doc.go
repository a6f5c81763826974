// SPDX-License-Identifier: Apache-2.0

// Command kernels runs the project's tests in other Linux kernels, from Debian's oldest
// with BTF to its newest, under an emulator: nothing here asks for KVM.
//
// It gets kernels and emulator through apt into a cache outside the checkout, builds
// the tests into one static binary, boots each kernel with nothing but that binary and
// this program, which is the guest's init as well, and prints a table of features and
// kernels.
//
// A guest is in virtual time unless it is told otherwise: its clock follows the
// instructions it executes, and jumps over the time it idles: a minute of TIME_WAIT
// takes none of the host's. Its CPUs take turns on one of the host's.
//
// Package guest is what runs in the machine, vm the machine, debian the mirror, report
// the table. Here are the command line, the cache and the choice of kernels.
package main
