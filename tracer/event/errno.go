// SPDX-License-Identifier: Apache-2.0

package event

import (
	"strconv"
	"strings"
)

// The errors that TCP leaves on a socket or returns from connect().
var errnoNames = map[uint16]string{
	1: "EPERM", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 22: "EINVAL", 32: "EPIPE", 71: "EPROTO", 90: "EMSGSIZE",
	92: "ENOPROTOOPT", 93: "EPROTONOSUPPORT", 95: "EOPNOTSUPP", 97: "EAFNOSUPPORT", 98: "EADDRINUSE",
	99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 103: "ECONNABORTED", 104: "ECONNRESET",
	105: "ENOBUFS", 106: "EISCONN", 107: "ENOTCONN", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 112: "EHOSTDOWN",
	113: "EHOSTUNREACH", 114: "EALREADY", 115: "EINPROGRESS",
}

var errnoNumbers = func() map[string]uint16 {
	m := make(map[string]uint16, len(errnoNames))
	for n, name := range errnoNames {
		m[name] = n
	}
	return m
}()

// ErrnoName returns the name of a Linux error number, as errno(3) spells it; empty for 0.
func ErrnoName(n uint16) string {
	if n == 0 {
		return ""
	}
	if s, ok := errnoNames[n]; ok {
		return s
	}
	return "errno " + strconv.Itoa(int(n))
}

// ParseErrno is the inverse of ErrnoName; 0 when there is no such error.
func ParseErrno(name string) uint16 {
	if n, ok := errnoNumbers[name]; ok {
		return n
	}
	if text, ok := strings.CutPrefix(name, "errno "); ok {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			return uint16(n)
		}
	}
	return 0
}
