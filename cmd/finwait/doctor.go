// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"finwait/tracer"
)

func newDoctor() *cobra.Command {
	var probe string
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
			return runDoctor(cmd.OutOrStdout(), p)
		},
	}
	cmd.Flags().StringVar(&probe, "time-wait-probe", "auto", "auto, fentry or timer")
	return cmd
}

func runDoctor(w io.Writer, probe tracer.Probe) error {
	t, err := tracer.Open(tracer.Options{Probe: probe, RingBytes: 64 << 10, MaxSockets: 1024})
	if err != nil {
		fmt.Fprintln(w, "This host cannot be traced.")
		return err
	}
	defer t.Close()
	var b strings.Builder
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
	lacks, err := tracer.CheckPrivilege()
	for _, l := range lacks {
		fmt.Fprintf(&b, "Without %s.\n", l)
	}
	seed := t.Seed()
	fmt.Fprintf(&b, "%d network namespaces, %d TCP connections and %d TIME_WAITs exist now; attaching took %d ms, listing them %d ms.\n",
		len(seed.Namespaces), seed.Sockets, seed.TimeWaits, t.AttachTime().Milliseconds(), seed.Took.Milliseconds())
	for _, e := range seed.Errs {
		fmt.Fprintf(&b, "Not listed: %v.\n", e)
	}
	_, werr := io.WriteString(w, b.String())
	return errors.Join(err, werr)
}
