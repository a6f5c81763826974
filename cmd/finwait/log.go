// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"time"

	"github.com/rs/zerolog"

	"finwait/tracer"
	"finwait/tracer/privilege"
)

func newLogger(w io.Writer, level, format string, color bool) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), usage("--log-level %q: use debug, info, warn or error", level)
	}
	if format == "console" {
		// Values are quoted by the library, messages are not.
		message := func(i any) string {
			text, _ := i.(string)
			return printable(text)
		}
		w = zerolog.ConsoleWriter{Out: w, NoColor: !color, TimeFormat: time.TimeOnly, FormatMessage: message}
	}
	return zerolog.New(w).Level(l).With().Timestamp().Logger(), nil
}

// logStart says what is attached, and what is missing and costs something.
func logStart(log zerolog.Logger, t *tracer.Tracer) {
	seed := t.Seed()
	log.Info().
		Str("time_wait_probe", t.Probe().String()).
		Int("existing_sockets", seed.Sockets).Int("existing_time_waits", seed.TimeWaits).
		Stringer("attached_in", t.AttachTime().Round(time.Millisecond)).
		Msg("tracing")
	if err := t.FentryError(); err != nil {
		log.Debug().Err(err).Msg("the fentry probe cannot be used here; the timer probe is exact where it says so")
	}
	for _, h := range t.Hooks() {
		if h.Attached == "" {
			log.Warn().Str("hook", h.Name).Errs("errors", h.Errs).Msg("not attached; lost: " + h.Lost)
		}
	}
	for _, err := range seed.Errs {
		log.Warn().Err(err).Msg("what already existed is not known in full")
	}
	for _, c := range privilege.Missing() {
		if !c.Harmless {
			log.Warn().Msg("without " + c.Name + ": " + c.Cost)
		}
	}
}
