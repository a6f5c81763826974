// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"

	"golang.org/x/sys/unix"

	"finwait/tracer/privilege"
)

// ErrPrivilege is returned when the process lacks a capability that tracing needs.
// ErrKernel is returned when this kernel, or its policy, cannot carry a trace.
// ErrTypes is returned when the file of Options.Types cannot be used.
var (
	ErrPrivilege = privilege.ErrMissing
	ErrKernel    = errors.New("this kernel cannot be traced")
	ErrTypes     = errors.New("not this kernel's type information")

	errRefused = errors.New("EPERM")
)

func isPrivilege(err error) bool { return errors.Is(err, unix.EPERM) }
