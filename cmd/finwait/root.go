// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRoot() *cobra.Command {
	var f liveFlags
	root := &cobra.Command{
		Use:   "finwait",
		Short: "Who closed this TCP connection first, and how long did its TIME_WAIT really last?",
		Long: `finwait streams one line for every step of a TCP connection towards its end, with
the process that owns the socket, who closed first and how, how long TIME_WAIT
really lasted and why it ended. Press Ctrl-C to stop.`,
		Example: `  sudo finwait                          every close on this host
  sudo finwait -D 8080 --closer local   connections to port 8080 that this host closes first
  sudo finwait --view closes            one line for a whole connection
  sudo finwait -o json | jq .           one record a line`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLive(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), f)
		},
	}
	f.register(root.Flags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w (see %s --help)", errUsage, err, cmd.CommandPath())
	})
	root.AddCommand(newRecord(), newReplay(), newReport(), newBudget(), newSockets(), newDoctor(), newDemo(), newSchema(), newVersion())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: unknown command %q (see %s --help)", errUsage, args[0], cmd.Root().Name())
	}
	return nil
}
