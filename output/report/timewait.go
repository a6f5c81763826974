// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"finwait/tracer/event"
)

// timeWaits is what TIME_WAIT cost a host.
type timeWaits struct {
	existing  int64 // alive when the trace began
	alive     int64
	peak      int64
	peakAt    int64 // ktime
	born      uint64
	ports     uint64 // of them: on the side that called connect()
	ended     [10]uint64
	restarts  uint64
	restarted uint64                  // TIME_WAITs that were
	length    *hdrhistogram.Histogram // milliseconds
	late      *hdrhistogram.Histogram // milliseconds
	track     *track
}

// longest is more than any TIME_WAIT that restarts leave alive.
const longest = int64(24 * time.Hour / time.Millisecond)

func newTimeWaits(g *grid) timeWaits {
	return timeWaits{
		length: hdrhistogram.New(1, longest, 3), late: hdrhistogram.New(1, longest, 2), track: g.track(),
	}
}

// exist: so many are alive when the trace begins.
func (w *timeWaits) exist(n int64, ktime int64) {
	w.existing += n
	w.alive += n
	if w.alive > w.peak {
		w.peak, w.peakAt = w.alive, ktime
	}
}

// enter: one began. Counted says that it was alive before, as an orphan's FIN_WAIT2.
func (w *timeWaits) enter(g *grid, ktime int64, counted bool) {
	w.born++
	if counted {
		return
	}
	w.alive++
	w.track[g.slot(ktime)]++
	if w.alive > w.peak {
		w.peak, w.peakAt = w.alive, ktime
	}
}

// leave: one is over. It is not among those alive where its beginning was not seen.
func (w *timeWaits) leave(g *grid, ktime int64, i *event.TimeWaitInfo, seen bool) {
	if seen && w.alive > 0 {
		w.alive--
		w.track[g.slot(ktime)]--
	}
	w.ended[i.End]++
	if i.Restarts > 0 {
		w.restarts += uint64(i.Restarts)
		w.restarted++
	}
	if i.Duration >= 0 {
		// Values out of range are held at its end: they are not lost, only not exact.
		_ = w.length.RecordValue(min(i.Duration.Milliseconds(), longest))
	}
	if i.Late >= 0 {
		_ = w.late.RecordValue(min(i.Late.Milliseconds(), longest))
	}
}

// forget: nothing more will be known of those alive.
func (w *timeWaits) forget(g *grid, ktime int64) {
	w.track[g.slot(ktime)] -= int32(w.alive)
	w.alive = 0
}
