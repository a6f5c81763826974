// SPDX-License-Identifier: Apache-2.0

package debian

import "testing"

func TestCompare(t *testing.T) {
	// Each is older than the next.
	ascending := []string{
		"5.10.223-1", "5.10.262-1", "6.1.176-1", "6.1.192-1~deb11u1", "6.1.192-1", "6.1.192-2",
		"6.12.90-1~bpo12+1", "6.12.90-2~bpo12+1", "6.12.107-1", "6.12.117-1~bpo12+1", "6.12.117-1",
		"7.2~rc1-1", "7.2-1", "7.2a-1", "7.2.13-1", "7.2.13-1+b1", "1:7.2+dfsg-7+deb12u18", "1:10.0.2+ds-2",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := Compare(a, b); got != want {
				t.Errorf("%s, %s: %d, want %d", a, b, got, want)
			}
		}
	}
	for _, same := range [][2]string{{"0:1.0-1", "1.0-1"}, {"1.01", "1.1"}, {"1", "1-0"}} {
		if got := Compare(same[0], same[1]); got != 0 {
			t.Errorf("%v: %d, want 0", same, got)
		}
	}
}
