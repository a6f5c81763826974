// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"time"
)

// idles is how long connections were idle before their first FIN: exact counts in
// buckets 8% wide, from idleFloor to about five hours.
type idles struct {
	n   [128]uint32
	sum [128]int64 // milliseconds
	all uint64
}

const idleRatio = 1.08

func (x *idles) add(d time.Duration) {
	i := int(math.Log(float64(d)/float64(idleFloor)) / math.Log(idleRatio))
	i = min(max(i, 0), len(x.n)-1)
	x.n[i]++
	x.sum[i] += d.Milliseconds()
	x.all++
}

// merge adds another's counts; nil adds nothing.
func (x *idles) merge(o *idles) {
	if o == nil {
		return
	}
	for i := range o.n {
		x.n[i] += o.n[i]
		x.sum[i] += o.sum[i]
	}
	x.all += o.all
}

// cluster is the one length that most of the idle times have: a timeout. Three buckets
// together are as wide as the timers of common servers are imprecise.
func (x *idles) cluster() (length time.Duration, n uint64, ok bool) {
	if x == nil || x.all < enoughCloses/2 {
		return 0, 0, false
	}
	best, at := uint64(0), 0
	for i := range x.n {
		if n := x.around(i); n > best {
			best, at = n, i
		}
	}
	if float64(best) < clustered*float64(x.all) {
		return 0, 0, false
	}
	var sum int64
	for i := max(at-1, 0); i <= min(at+1, len(x.sum)-1); i++ {
		sum += x.sum[i]
	}
	return time.Duration(sum/int64(best)) * time.Millisecond, best, true
}

func (x *idles) around(i int) (n uint64) {
	for j := max(i-1, 0); j <= min(i+1, len(x.n)-1); j++ {
		n += uint64(x.n[j])
	}
	return n
}
