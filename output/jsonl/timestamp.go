// SPDX-License-Identifier: Apache-2.0

package jsonl

import "time"

// timestamps parses the timestamps of a trace: the next one is mostly of the same minute.
type timestamps struct {
	minute string // 2006-01-02T15:04:
	base   int64  // that minute, nanoseconds since 1970
}

const (
	minuteLen    = len("2006-01-02T15:04:")
	timestampLen = len("2006-01-02T15:04:05.000000000Z")
)

// parse returns nanoseconds since 1970.
func (ts *timestamps) parse(b []byte) (int64, bool) {
	if len(b) != timestampLen || string(b[:minuteLen]) != ts.minute || b[minuteLen+2] != '.' || b[timestampLen-1] != 'Z' {
		t, err := time.Parse(time.RFC3339Nano, string(b))
		if err != nil || t.Year() < 1970 || t.Year() > 2261 { // what fits into nanoseconds
			return 0, false
		}
		if len(b) == timestampLen && b[timestampLen-1] == 'Z' {
			ts.minute = string(b[:minuteLen])
			ts.base = t.Truncate(time.Minute).UnixNano()
		}
		return t.UnixNano(), true
	}
	var n int64
	for i := minuteLen; i < timestampLen-1; i++ {
		if i == minuteLen+2 {
			continue
		}
		d := int64(b[i] - '0')
		if uint64(d) > 9 {
			return 0, false
		}
		n = n*10 + d
	}
	if n >= int64(time.Minute) {
		return 0, false
	}
	return ts.base + n, true
}
