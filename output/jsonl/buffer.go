// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// object writes one JSON object into a buffer that is used again. Fields that are
// unknown are left out by the caller: unknown is absent.
type object struct {
	b []byte

	second int64  // since 1970, of the last timestamp
	prefix []byte // that second as text; the next timestamp is mostly of the same

	texts   *ownerTexts
	sockets *socketTexts
}

func (o *object) key(k string) {
	if c := o.b[len(o.b)-1]; c != '{' && c != '[' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, k...)
	o.b = append(o.b, '"', ':')
}

func (o *object) open(k string) {
	o.key(k)
	o.b = append(o.b, '{')
}

func (o *object) close() { o.b = append(o.b, '}') }

func (o *object) str(k, v string) {
	o.key(k)
	o.b = appendString(o.b, v)
}

func (o *object) bytes(k string, v []byte) {
	o.key(k)
	o.b = appendString(o.b, v)
}

func (o *object) int(k string, v int64) {
	o.key(k)
	o.b = appendInt(o.b, v)
}

func (o *object) uint(k string, v uint64) {
	o.key(k)
	o.b = appendUint(o.b, v)
}

// id writes a 64-bit id as a string: JSON readers keep 53 bits of a number.
func (o *object) id(k string, v uint64) {
	o.key(k)
	o.b = append(o.b, '"')
	o.b = appendUint(o.b, v)
	o.b = append(o.b, '"')
}

func (o *object) bool(k string, v bool) {
	o.key(k)
	o.b = strconv.AppendBool(o.b, v)
}

func (o *object) nanos(k string, d time.Duration) { o.int(k, int64(d)) }

func (o *object) endpoint(k string, a netip.AddrPort) {
	o.open(k)
	o.key("address")
	o.b = append(o.b, '"')
	o.b = a.Addr().AppendTo(o.b)
	o.b = append(o.b, '"')
	o.uint("port", uint64(a.Port()))
	o.close()
}

func (o *object) time(k string, t time.Time) {
	o.key(k)
	o.b = append(o.b, '"')
	o.b = o.appendTime(o.b, t)
	o.b = append(o.b, '"')
}

func (o *object) appendTime(b []byte, t time.Time) []byte {
	if second := t.Unix(); second != o.second || o.prefix == nil {
		o.second = second
		o.prefix = t.UTC().AppendFormat(o.prefix[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, o.prefix...)
	n := len(b)
	b = append(b, "000000000Z"...)
	fill(b[n:n+9], uint64(t.Nanosecond()))
	return b
}

const hex = "0123456789abcdef"

// appendString writes v as a JSON string. Bytes that are not UTF-8 become U+FFFD: a
// process may call itself anything.
func appendString[S ~string | ~[]byte](b []byte, v S) []byte {
	b = append(b, '"')
	for i := 0; i < len(v); {
		c := v[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			i++
		case c < utf8.RuneSelf:
			b = append(b, c)
			i++
		default:
			r, n := decodeRune(v[i:])
			if r < 0xa0 { // the 8-bit control characters
				b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
			} else {
				b = utf8.AppendRune(b, r)
			}
			i += n
		}
	}
	return append(b, '"')
}

func decodeRune[S ~string | ~[]byte](v S) (rune, int) {
	var raw [utf8.UTFMax]byte
	n := copy(raw[:], v)
	return utf8.DecodeRune(raw[:n])
}
