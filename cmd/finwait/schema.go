// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"finwait/output/jsonl"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the records",
		Long: `schema prints the JSON Schema (draft 2020-12) of the records that -o json, record and
replay write: one record a line.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write([]byte(jsonl.Schema))
			return err
		},
	}
}
