// SPDX-License-Identifier: Apache-2.0

// Package ports does the arithmetic of local ports: which of them connect() may choose
// (a [Range]), what connections make of them (a [Budget], from two looks at a host), and
// where that is heading (an [Outlook]).
//
// It knows neither kernel nor clock, and starts no goroutines.
package ports
