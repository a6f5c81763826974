// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"finwait/tracer"
	"finwait/tracer/privilege"
)

func newDoctor() *cobra.Command {
	var probe, types string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what can be traced on this host, and what each gap costs",
		Long: `doctor attaches everything that a trace would, tells which way each hook is attached,
what is lost where one is not, and detaches again. It exits with 3 when a privilege is
missing, and with 4 when this kernel cannot be traced.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := tracer.ParseProbe(probe)
			if err != nil {
				return usage("--time-wait-probe: %v", err)
			}
			return runDoctor(cmd.OutOrStdout(), tracer.Options{Probe: p, Types: types, RingBytes: 64 << 10, MaxSockets: 1024})
		},
	}
	cmd.Flags().StringVar(&probe, "time-wait-probe", "auto", "auto, fentry or timer")
	registerTypes(cmd.Flags(), &types)
	return cmd
}

func runDoctor(w io.Writer, opt tracer.Options) error {
	t, err := tracer.Open(opt)
	var b strings.Builder
	if err != nil {
		if !errors.Is(err, tracer.ErrTypes) {
			b.WriteString("This host cannot be traced.\n\n")
			capabilities(&b)
		}
		_, werr := io.WriteString(w, b.String())
		return errors.Join(err, werr)
	}
	defer t.Close()
	fmt.Fprintf(&b, "%-17s  %-36s  %s\n", "HOOK", "ATTACHED", "SHOWS")
	for _, h := range t.Hooks() {
		attached := h.Attached
		if attached == "" {
			attached = "NO"
		}
		fmt.Fprintf(&b, "%-17s  %-36s  %s\n", h.Name, attached, h.Sees)
		if h.Attached == "" {
			fmt.Fprintf(&b, "%-17s  lost: %s\n", "", h.Lost)
		}
		for _, err := range h.Errs {
			fmt.Fprintf(&b, "%-17s  (%v)\n", "", err)
		}
	}
	b.WriteString("\n")
	switch {
	case t.Probe() == tracer.ProbeFentry:
		b.WriteString("TIME_WAIT is watched with fentry: every birth, restart and end, with its reason, exactly and at once.\n")
	default:
		b.WriteString("TIME_WAIT is watched through its timer: every birth and end exactly; a step that is not seen is worked out from the timer, to one jiffy, and marked.\n")
		if err := t.FentryError(); err != nil {
			fmt.Fprintf(&b, "The fentry probe would cost less: %v.\n", err)
		}
	}
	seed := t.Seed()
	fmt.Fprintf(&b, "%d network namespaces, %d TCP connections and %d TIME_WAITs exist now; attaching took %d ms, listing them %d ms.\n",
		len(seed.Namespaces), seed.Sockets, seed.TimeWaits, t.AttachTime().Milliseconds(), seed.Took.Milliseconds())
	for _, e := range seed.Errs {
		fmt.Fprintf(&b, "Not listed: %v.\n", e)
	}
	b.WriteString("\n")
	capabilities(&b)
	_, err = io.WriteString(w, b.String())
	return err
}

// capabilities tells which of them are there, and what each one that is not costs.
func capabilities(b *strings.Builder) {
	fmt.Fprintf(b, "%-19s  %-4s  %s\n", "CAPABILITY", "HERE", "FOR")
	for i := range privilege.Table {
		c := &privilege.Table[i]
		if c.Held() {
			fmt.Fprintf(b, "%-19s  %-4s  %s\n", c.Name, "yes", c.Use)
			continue
		}
		fmt.Fprintf(b, "%-19s  %-4s  %s\n%-19s        without it: %s\n", c.Name, "NO", c.Use, "", c.Cost)
	}
	b.WriteString("After the start, all of them are given up (--keep-capabilities); docs/security.md tells what that costs.\n")
}
