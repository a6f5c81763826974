// SPDX-License-Identifier: Apache-2.0

// Package report makes one table out of the output of many runs of one test binary: a
// row for each feature, a column for each kernel; and says what is wrong with it.
//
// It knows nothing of machines, and runs and reads nothing.
package report
