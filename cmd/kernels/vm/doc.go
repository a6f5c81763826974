// SPDX-License-Identifier: Apache-2.0

// Package vm boots one kernel in an emulator, runs one static program in it and
// returns what the program wrote and how it ended.
//
// It knows neither where kernels come from nor what the program's output means. [Boot]
// may be called from several goroutines; it waits for everything that it starts.
package vm
