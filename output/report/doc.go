// SPDX-License-Identifier: Apache-2.0

// Package report adds a trace up: who closed first, what TIME_WAIT cost, how much of
// the port range is left, which closes never finish, and findings that say what to do.
//
// A [Collector] takes records and keeps bounded tables: its memory does not grow with
// the length of a trace, and what did not fit is counted. [Collector.Report] makes of
// them a [Report], plain data, that [Text] and [JSON] write down, and that package html
// draws. The package knows neither kernel nor files nor the time of day; it starts no
// goroutines, and a Collector is for one goroutine at a time.
package report
