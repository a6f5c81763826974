// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"finwait/output/filter"
	"finwait/tracer"
	"finwait/tracer/event"
	"finwait/tracer/flow"
	"finwait/tracer/privilege"
	"finwait/tracer/proc"
	"finwait/tracer/workload"
)

func newDemo() *cobra.Command {
	var f liveFlags
	var wait bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Trace a workload of finwait's own that makes every kind of close",
		Long: `demo closes TCP connections in every way there is, in a private network namespace, and
traces them. Nothing outside that namespace is touched. It ends by itself within about
15 seconds; a TIME_WAIT lasts a minute, and --wait stays for it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), f, wait)
		},
	}
	f.register(cmd.Flags())
	for _, name := range []string{"duration", "count", "netns", "ready-file", "keep-capabilities"} {
		cmd.Flags().MarkHidden(name)
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "stay until every TIME_WAIT is over, about a minute")
	return cmd
}

// story is a request of the workload to the tracing goroutine: once everything up to
// `after` has been shown, write `heading` and close `done`.
type story struct {
	after   int64
	heading string
	idle    bool // also wait until no mini-socket is alive
	done    chan struct{}
}

// narrator is a session that writes headings between the rows.
type narrator struct {
	*session
	out     *stdout
	plain   bool // rows for people: headings too
	stories chan story
	next    *story
}

func (n *narrator) Advance(ktime int64) error {
	if err := n.session.Advance(ktime); err != nil {
		return err
	}
	if n.next == nil {
		select {
		case s := <-n.stories:
			n.next = &s
		default:
			return nil
		}
	}
	const shown = int64(60 * time.Millisecond) // how far rows are behind samples, generously
	if ktime-shown < n.next.after || n.next.idle && n.flow.Stats().TimeWaits > 0 {
		return nil
	}
	if n.plain && n.next.heading != "" {
		fmt.Fprintf(n.out, "\n%s\n", n.next.heading)
	}
	close(n.next.done)
	n.next = nil
	return n.out.flush()
}

// tell waits until all that has happened so far is shown, then writes heading.
func (n *narrator) tell(ctx context.Context, heading string, idle bool) error {
	s := story{after: tracer.Now(), heading: heading, idle: idle, done: make(chan struct{})}
	select {
	case n.stories <- s:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func runDemo(ctx context.Context, w, stderr io.Writer, f liveFlags, wait bool) error {
	if err := f.check(); err != nil {
		return err
	}
	opt, err := f.options(&filter.Filter{})
	if err != nil {
		return err
	}
	flt, err := f.filter()
	if err != nil {
		return err
	}
	tick, err := tracer.Tick()
	if err != nil {
		return err
	}
	if err := privilege.Check(); err != nil {
		return err
	}
	// An orphan's FIN_WAIT2 would last a minute too; two seconds are enough to see it end.
	lab, err := workload.New(ctx, workload.Options{FinTimeout: 2 * time.Second})
	if err != nil {
		return fmt.Errorf("make the private network namespace: %w", err)
	}
	defer lab.Close()
	opt.Filter.NetNS = lab.NetNS()
	t, err := tracer.Open(opt)
	if err != nil {
		return err
	}
	defer t.Close()

	start := describe(t, tick)
	s := newScreen(w, &f, start.Clock)
	n := &narrator{
		session: newSession(newView(s, &f, flt), t, start, flow.Options{Namer: proc.New("/proc")}, opt.Filter, s.advance),
		out:     s.out, plain: f.output != "json", stories: make(chan story),
	}
	if err := n.Start(start); err != nil {
		return err
	}
	if n.plain {
		fmt.Fprint(s.out, demoPreface)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	played := make(chan error, 1)
	var truth workload.Totals
	go func() {
		defer stop()
		played <- play(ctx, lab, n, wait, &truth)
	}()
	err = t.Run(ctx, n)
	stop()
	if perr := <-played; !errors.Is(perr, context.Canceled) {
		err = errors.Join(err, perr)
	}
	if n.plain && err == nil {
		err = n.epilogue(truth)
	}
	return conclude(t, n.session, s, f.strict, err, func(line string) { fmt.Fprintf(stderr, "\n%s\n", line) })
}

const demoPreface = `Every line is one step of one end of a connection towards its end. The process is the
one that owns the socket. Both ends live on this host here, so both are shown; over a
network you see one. Only the end that closes first goes through TIME_WAIT.
`

// play makes every kind of close, one after the other.
func play(ctx context.Context, lab *workload.Lab, n *narrator, wait bool, truth *workload.Totals) error {
	for i, kind := range workload.Kinds() {
		if err := n.tell(ctx, fmt.Sprintf("%2d. %s", i+1, kind.Story()), false); err != nil {
			return err
		}
		ledger, err := lab.Run(ctx, kind)
		if err != nil {
			return fmt.Errorf("make a connection end as %s: %w", kind, err)
		}
		k := ledger.Kernel()
		truth.Births += k.Births
		truth.Reuses += k.Reuses
		truth.Overflows += k.Overflows
		truth.AbortOnData += k.AbortOnData
		truth.AbortOnClose += k.AbortOnClose
		truth.AbortOnTimeout += k.AbortOnTimeout
	}
	if wait {
		if err := n.tell(ctx, "    Now every TIME_WAIT runs out: 60 s, and as long as its timer is late.", false); err != nil {
			return err
		}
		return n.tell(ctx, "", true)
	}
	return n.tell(ctx, "", false)
}

// epilogue shows what is still open, and holds the trace against the kernel's counters.
func (n *narrator) epilogue(truth workload.Totals) error {
	if err := n.flow.Flush(); err != nil {
		return err
	}
	stats := n.flow.Stats()
	if stats.TimeWaits > 0 {
		fmt.Fprintf(n.out, "\n    Still open: TIME_WAIT lasts a minute (finwait demo --wait stays for it).\n")
		if n.closes == nil {
			if err := n.flow.OpenTimeWaits(n.now, n.sink.Transition); err != nil {
				return err
			}
		}
	}
	type check struct {
		what         string
		ours, kernel uint64
	}
	var b strings.Builder
	b.WriteString("\n    finwait's counts beside the kernel's own:\n")
	for _, c := range []check{
		{"TIME_WAIT sockets born (TW + TWKilled)", stats.Born, truth.Births},
		{"taken over by connect() (TWRecycled)", stats.Ended[event.EndReusedByConnect], truth.Reuses},
		{"skipped, table full (TCPTimeWaitOverflow)", stats.Refused, truth.Overflows},
	} {
		mark := "agree"
		if c.ours != c.kernel {
			mark = "DIFFER"
		}
		fmt.Fprintf(&b, "    %-44s %4d %4d  %s\n", c.what, c.ours, c.kernel, mark)
	}
	_, err := io.WriteString(n.out, b.String())
	return err
}
