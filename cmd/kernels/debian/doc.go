// SPDX-License-Identifier: Apache-2.0

// Package debian gets packages from the mirror that this machine is set up for, of any
// suite, without touching the machine's own apt state; and installs packages of the
// machine's own suites.
//
// It knows nothing of kernels. It runs apt-get, dpkg-query and dpkg-deb, names no host,
// and leaves all checking of signatures and sums to apt.
package debian
