// SPDX-License-Identifier: Apache-2.0

package ports

import (
	"time"

	"finwait/tracer/event"
)

// Outlook is where the use of a range is heading.
type Outlook struct {
	Level float64       // ports in use once as many come back as are taken
	In    time.Duration // until none is left; event.Unknown: never at this rate
}

// Use is a range in use.
type Use struct {
	Capacity int64
	Now      int64           // ports in use
	Lasting  int64           // of them, held for good: open connections, bound ports
	Spend    float64         // ports taken a second that come back after Hold
	Growth   float64         // ports taken a second that do not come back
	Hold     time.Duration   // how long a port is away: TIME_WAIT
	Back     []time.Duration // when those in use come back, sorted; nil: it is not known
}

// Outlook projects the use as if it went on like this. Where it is known when ports
// come back, it finds the moment; otherwise it believes the level, and that nothing comes
// back until then.
func (u *Use) Outlook() Outlook {
	hold := u.Hold.Seconds()
	o := Outlook{Level: float64(u.Lasting) + u.Spend*hold, In: event.Unknown}
	if u.Capacity <= 0 {
		return o
	}
	room, rate := float64(u.Capacity-u.Now), u.Spend+u.Growth
	if u.Back == nil && (o.Level < float64(u.Capacity) || rate <= 0) {
		return o
	}
	if room <= 0 {
		o.In = 0
		return o
	}
	if rate <= 0 {
		return o
	}
	back := 0.0
	for _, at := range u.Back {
		if at > u.Hold {
			break
		}
		if t := (room + back) / rate; t <= at.Seconds() {
			o.In = asDuration(t)
			return o
		}
		back++
	}
	if t := (room + back) / rate; t <= hold || u.Back == nil {
		o.In = asDuration(t)
		return o
	}
	// After that, as many come back as were taken one Hold ago: only growth is left.
	if u.Growth > 0 {
		o.In = asDuration(max(hold, (float64(u.Capacity)-o.Level)/u.Growth))
	}
	return o
}

// asDuration keeps within what a Duration can hold: what is further away is never.
func asDuration(seconds float64) time.Duration {
	const longest = 100 * 365 * 24 * time.Hour
	if seconds > longest.Seconds() {
		return event.Unknown
	}
	return time.Duration(seconds * float64(time.Second))
}
