// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"net/netip"
	"unicode/utf16"
	"unicode/utf8"

	"finwait/tracer/event"
)

// parseIPv4 is netip.ParseAddr for what most addresses are.
func parseIPv4(b string) (netip.Addr, bool) {
	var a [4]byte
	n, digits, v := 0, 0, 0
	for i := range len(b) {
		c := b[i]
		switch {
		case c >= '0' && c <= '9' && digits < 3 && (digits == 0 || v > 0):
			v = v*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && n < 3 && v < 256:
			a[n] = byte(v)
			n, digits, v = n+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if n != 3 || digits == 0 || v > 255 {
		return netip.Addr{}, false
	}
	a[3] = byte(v)
	return netip.AddrFrom4(a), true
}

// unescape appends what raw stands for, as it is between the quotes.
func unescape(to, raw []byte) ([]byte, bool) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			to = append(to, raw[i])
			continue
		}
		i++
		if i == len(raw) {
			return to, false
		}
		switch c := raw[i]; c {
		case '"', '\\', '/':
			to = append(to, c)
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		case 'u':
			r, ok := hex4(raw[i+1:])
			if !ok {
				return to, false
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low, ok := rune(0), false
				if i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
					low, ok = hex4(raw[i+3:])
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					i += 6
				}
			}
			to = utf8.AppendRune(to, r)
		default:
			return to, false
		}
	}
	return to, true
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// comm is the inverse of what the Writer makes of a task's name. A byte that was not UTF-8
// has become U+FFFD, which takes three; here it becomes one byte again that is not UTF-8, so
// that the name is as long as it was and is written as before.
func comm(raw []byte, escaped bool) (c event.Comm, ok bool) {
	var room [128]byte
	if escaped {
		if raw, ok = unescape(room[:0], raw); !ok {
			return c, false
		}
	}
	n := 0
	for len(raw) > 0 && n < len(c) {
		if raw[0] < utf8.RuneSelf {
			c[n] = raw[0]
			raw = raw[1:]
			n++
			continue
		}
		r, size := utf8.DecodeRune(raw)
		if r == utf8.RuneError {
			c[n] = 0xff
			n++
		} else {
			n += copy(c[n:], raw[:size])
		}
		raw = raw[size:]
	}
	return c, len(raw) == 0
}
