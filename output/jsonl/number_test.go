// SPDX-License-Identifier: Apache-2.0

package jsonl

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestNumbers: as strconv writes them, at every length.
func TestNumbers(t *testing.T) {
	check := func(v uint64) {
		if got, want := string(appendUint([]byte("x"), v)), "x"+strconv.FormatUint(v, 10); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		for _, v := range []int64{int64(v), -int64(v)} {
			if got, want := string(appendInt(nil, v)), strconv.FormatInt(v, 10); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	for _, p := range power10 {
		for _, v := range []uint64{p - 1, p, p + 1, 2*p - 1, 9 * p} {
			check(v)
		}
	}
	for bit := range 64 {
		for _, v := range []uint64{1<<bit - 1, 1 << bit, 1<<bit + 1} {
			check(v)
		}
	}
	check(math.MaxUint64)
	for range 100_000 {
		check(rand.Uint64() >> rand.IntN(64))
	}
}
