// SPDX-License-Identifier: Apache-2.0

package report

import "time"

// What a finding needs before it is printed. Each is chosen so that an ordinary, healthy
// host stays silent.
const (
	// enough closes of one kind to speak of a habit, not of an accident.
	enoughCloses = 20
	// enoughHarm is for things that should not happen at all: a few prove a cause.
	enoughHarm = 5
	// mostly is the share at which one end "closes first": below, both ends do.
	mostly = 0.8

	// lasting is how long CLOSE_WAIT or FIN_WAIT2 may last before they are listed: the
	// slowest of ordinary requests, and of drains, is over by then.
	lasting = 10 * time.Second
	// leaking is the age at which an open CLOSE_WAIT is called a leak: the longest of the
	// usual request timeouts.
	leaking = 30 * time.Second
	// leaks of one owner, still open when the trace ends, make a finding.
	enoughLeaks = 3
	// manyLeaks make it critical: a usual limit on descriptors is 1024.
	manyLeaks = 500

	// idleFloor tells a connection that was kept for another request from one that was
	// closed right after its last.
	idleFloor = time.Second
	// clustered is the share of idle times that must agree before they are called a timeout.
	clustered = 0.6

	// portsHigh is where a warning still leaves time to act, portsFull where a burst of
	// a few seconds ends in EADDRNOTAVAIL.
	portsHigh = 0.7
	portsFull = 0.9
	// portsPressed is where advice about saving ports is worth reading.
	portsPressed = 0.4
	// soon is how near running out of ports must be to be told of.
	soon = time.Hour
	// recent is the window for rates: one length of TIME_WAIT.
	recent = 60 * time.Second

	// proberBytes is what a health check sends at most. More is a request, and may be lost.
	proberBytes = 1024
	// cutShare is the share of TIME_WAITs cut short that makes it a habit of the network.
	cutShare = 0.1

	// timeWaitLen is TCP_TIMEWAIT_LEN, and defaultFin the default of tcp_fin_timeout.
	timeWaitLen = 60 * time.Second
	defaultFin  = "60"

	// rotation is the longest gap between two files of one recording: the next is opened
	// before the last is finished.
	rotation = 2 * time.Second

	// perFinding is how many owners get a finding of the same kind; the tables have the rest.
	perFinding = 3
	// examples kept for each kind of evidence.
	maxExamples = 3
)
