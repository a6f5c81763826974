// SPDX-License-Identifier: Apache-2.0

// Package guest is the first process of a test machine: it makes a bare kernel fit for
// a test, runs one program as root, says how it ended and resets the machine.
//
// It knows nothing of the emulator: the host hands it a [Payload] in the initial file
// system and reads its two marks off the second serial port. Everything runs on the
// goroutine that called [Main].
package guest
