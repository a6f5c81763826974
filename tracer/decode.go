// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"encoding/binary"
	"errors"
	"fmt"

	"finwait/tracer/event"
)

// The wire, as bpf/event.h defines it.
const (
	sampleSize      = 128
	ownerSize       = 56
	ownedSampleSize = sampleSize + ownerSize
)

// ErrBadRecord is returned for a ring record that cannot be what the kernel side sends.
var ErrBadRecord = errors.New("bad record from the kernel side")

// Decode fills s from one raw ring record. It checks the length, the kind and the
// states, and returns ErrBadRecord rather than guess; s is then not to be used.
func Decode(raw []byte, s *event.Sample) error {
	if len(raw) != sampleSize && len(raw) != ownedSampleSize {
		return fmt.Errorf("decode %d bytes: %w", len(raw), ErrBadRecord)
	}
	le := binary.NativeEndian
	_ = raw[sampleSize-1]
	s.KTime = int64(le.Uint64(raw[0:]))
	s.Cookie = le.Uint64(raw[8:])
	s.Sock = le.Uint64(raw[16:])
	s.Cgroup = le.Uint64(raw[24:])
	copy(s.Local[:], raw[64:80])
	copy(s.Peer[:], raw[80:96])
	s.NetNS = le.Uint32(raw[96:])
	aux := le.Uint32(raw[100:])
	s.Unread = le.Uint32(raw[104:])
	s.Flags = event.Flags(le.Uint32(raw[108:]))
	s.LocalPort = le.Uint16(raw[112:])
	s.PeerPort = le.Uint16(raw[114:])
	s.Errno = le.Uint16(raw[116:])
	s.Kind = event.Kind(raw[118])
	s.Family = raw[119]
	s.Old = event.State(raw[120])
	s.New = event.State(raw[121])
	s.Attribution = event.Attribution(raw[122])
	s.Role = event.Role(raw[123])
	s.Reason = event.Reason(raw[124])

	switch s.Kind {
	case event.KindTransition, event.KindRelease:
		s.Since = int64(le.Uint64(raw[32:]))
		s.Established = int64(le.Uint64(raw[40:]))
		s.BytesSent = le.Uint64(raw[48:])
		s.BytesReceived = le.Uint64(raw[56:])
		s.IdleJiffies = aux
		s.Expires, s.Jiffies, s.Successor, s.Bucket, s.EntryStamp = 0, 0, 0, 0, 0
		if !s.Old.Valid() || !s.New.Valid() {
			return fmt.Errorf("decode states %d, %d: %w", s.Old, s.New, ErrBadRecord)
		}
	case event.KindArmed, event.KindDead, event.KindWhy, event.KindRefused, event.KindMiniSeen:
		s.Expires = le.Uint64(raw[32:])
		s.Jiffies = le.Uint64(raw[40:])
		s.Successor = le.Uint64(raw[48:])
		s.Bucket = le.Uint64(raw[56:])
		s.EntryStamp = aux
		s.Since, s.Established, s.BytesSent, s.BytesReceived, s.IdleJiffies = 0, 0, 0, 0, 0
		if s.Kind != event.KindWhy && s.New != event.FinWait2 && s.New != event.TimeWait {
			return fmt.Errorf("decode substate %d: %w", s.New, ErrBadRecord)
		}
	case event.KindSockSeen, event.KindConnectError:
		s.Since, s.Established, s.BytesSent, s.BytesReceived, s.IdleJiffies = 0, 0, 0, 0, 0
		s.Expires, s.Jiffies, s.Successor, s.Bucket, s.EntryStamp = 0, 0, 0, 0, 0
		if s.Kind == event.KindSockSeen && !s.New.Valid() {
			return fmt.Errorf("decode state %d: %w", s.New, ErrBadRecord)
		}
	default:
		return fmt.Errorf("decode kind %d: %w", s.Kind, ErrBadRecord)
	}
	if !s.Reason.Valid() || s.Attribution.String() == "" || s.Role > event.Server {
		return fmt.Errorf("decode reason %d, attribution %d, role %d: %w", s.Reason, s.Attribution, s.Role, ErrBadRecord)
	}
	if s.Family != 4 && s.Family != 6 && s.Kind != event.KindWhy && s.Kind != event.KindConnectError {
		return fmt.Errorf("decode family %d: %w", s.Family, ErrBadRecord)
	}
	if s.Has(event.FlagOwner) != (len(raw) == ownedSampleSize) {
		return fmt.Errorf("decode %d bytes with flags %#x: %w", len(raw), uint32(s.Flags), ErrBadRecord)
	}
	s.Owner = event.Owner{}
	if s.Has(event.FlagOwner) {
		decodeOwner(raw[sampleSize:], &s.Owner)
	}
	return nil
}

func decodeOwner(raw []byte, o *event.Owner) {
	le := binary.NativeEndian
	_ = raw[ownerSize-1]
	o.StartNS = le.Uint64(raw[0:])
	o.PID = le.Uint32(raw[8:])
	o.TID = le.Uint32(raw[12:])
	o.UID = le.Uint32(raw[16:])
	o.ExitCode = le.Uint32(raw[20:])
	copy(o.Comm[:], raw[24:40])
	copy(o.Thread[:], raw[40:56])
}
