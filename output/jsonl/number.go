// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"math/bits"
	"slices"
)

// digits are 00 to 99.
const digits = "0001020304050607080910111213141516171819" +
	"2021222324252627282930313233343536373839" +
	"4041424344454647484950515253545556575859" +
	"6061626364656667686970717273747576777879" +
	"8081828384858687888990919293949596979899"

// power10 is where another digit begins.
var power10 = func() (p [20]uint64) {
	p[0] = 1
	for i := range p[1:] {
		p[i+1] = p[i] * 10
	}
	return p
}()

// appendUint is strconv.AppendUint in base 10, for the numbers that a trace is full of: it
// writes them where they belong, two digits at a time, without a copy.
func appendUint(b []byte, v uint64) []byte {
	if v < 10 {
		return append(b, byte('0'+v))
	}
	n := bits.Len64(v) * 1233 >> 12 // log10(2) is 1233/4096, nearly: this, or one more
	if n < len(power10) && v >= power10[n] {
		n++
	}
	at := len(b)
	b = slices.Grow(b, n)[:at+n]
	fill(b[at:], v)
	return b
}

// fill writes as many digits as there is room for.
func fill(b []byte, v uint64) {
	i := len(b)
	for ; i > 1; i -= 2 {
		two := v % 100 * 2
		v /= 100
		b[i-2], b[i-1] = digits[two], digits[two+1]
	}
	if i > 0 {
		b[0] = byte('0' + v%10)
	}
}

// appendInt is strconv.AppendInt in base 10.
func appendInt(b []byte, v int64) []byte {
	if v < 0 {
		return appendUint(append(b, '-'), -uint64(v))
	}
	return appendUint(b, uint64(v))
}
