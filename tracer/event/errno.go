// SPDX-License-Identifier: Apache-2.0

package event

import "strconv"

// The errors that TCP leaves on a socket or returns from connect().
var errnoNames = map[uint16]string{
	1: "EPERM", 11: "EAGAIN", 12: "ENOMEM", 13: "EACCES", 22: "EINVAL", 32: "EPIPE", 71: "EPROTO", 90: "EMSGSIZE",
	92: "ENOPROTOOPT", 93: "EPROTONOSUPPORT", 95: "EOPNOTSUPP", 97: "EAFNOSUPPORT", 98: "EADDRINUSE",
	99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 103: "ECONNABORTED", 104: "ECONNRESET",
	105: "ENOBUFS", 106: "EISCONN", 107: "ENOTCONN", 110: "ETIMEDOUT", 111: "ECONNREFUSED", 112: "EHOSTDOWN",
	113: "EHOSTUNREACH", 114: "EALREADY", 115: "EINPROGRESS",
}

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
