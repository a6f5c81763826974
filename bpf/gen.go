// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the programs that run in the kernel, as C and as the
// generated, committed objects: building finwait needs Go alone.
//
// It knows nothing of what the programs are for; package tracer does.
package bpf

//go:generate go tool bpf2go -go-package bpf -target amd64,arm64 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -I.." Finwait finwait.bpf.c
