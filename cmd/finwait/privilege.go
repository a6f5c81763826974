// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/rs/zerolog"

	"finwait/tracer"
	"finwait/tracer/privilege"
	"finwait/tracer/proc"
)

// needy is an outlet that will need a capability after the start.
type needy interface {
	// needs names the capabilities, and says what for.
	needs() (names []string, why string)
}

// giveUp drops privileges once everything is attached and every file is open. What can be
// read with them alone is read before.
func giveUp(log zerolog.Logger, t *tracer.Tracer, namer *proc.Namer, out outlet, list string) error {
	keep, err := privilege.ParseKeep(list)
	if err != nil {
		return err // checked with the other flags
	}
	if keep.All() {
		log.Warn().Msg("all privileges are kept")
		return nil
	}
	namer.Learn()
	if n, ok := out.(needy); ok {
		if names, why := n.needs(); len(names) > 0 {
			keep.Add(names...)
			log.Info().Strs("capabilities", names).Msg("kept: " + why)
		}
	}
	kept, err := t.GiveUp(keep)
	if err != nil {
		return err
	}
	log.Debug().Str("kept", kept.String()).Msg("privileges given up")
	return nil
}

// needs: going on in another file takes the right to write into its directory, which this
// user may have by a capability alone.
func (r *recorder) needs() (names []string, why string) {
	if privilege.Without(r.parts.Writable) == nil {
		return nil, ""
	}
	return []string{"CAP_DAC_OVERRIDE"}, "the recording goes on in new files, in a directory that belongs to somebody else"
}
