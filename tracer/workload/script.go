// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// finAgainAfter is how long the peer of TWFinAgain waits before it repeats its FIN: long
// enough to show in TIME_WAIT's length, and past the half second in which the kernel
// would not answer it (tcp_invalid_ratelimit).
const finAgainAfter = time.Second

// runScripted runs the client against the scripted peer.
func (l *Lab) runScripted(ctx context.Context, k Kind) ([]Close, error) {
	if l.peer == nil {
		return nil, l.noPeer
	}
	r := l.destination(k)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeout(ctx, patience*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() {
		err := l.peer.play(ctx, k, r.Dest.Port())
		if err != nil {
			cancel(err)
		}
		done <- err
	}()
	closes, err := l.meet(ctx, 0, l.clientRuns(r))
	if err != nil {
		cancel(err)
	}
	if err := errors.Join(err, <-done); err != nil {
		return nil, err
	}
	client := closes[0].Client
	switch k {
	case TWFinAgain:
		client.Restarts = 1
	case TWRst:
		client.TimeWaitEnd = EndReset
		return closes, await(ctx, "the end of TIME_WAIT", func() (bool, error) {
			state, err := l.diag.state(client.tuple())
			return state == stateNone, err
		})
	}
	return closes, nil
}

// play is the peer's part in a kind.
func (p *peer) play(ctx context.Context, k Kind, port uint16) error {
	// With and without timestamps: whether they were agreed on decides what may become
	// of TIME_WAIT, so both should be seen.
	stamps := k != TWRst
	c, err := p.accept(ctx, port, stamps)
	if err != nil {
		return fmt.Errorf("play peer: %w", err)
	}
	switch k {
	case Simultaneous:
		err = c.cross(ctx)
	case PeerRST:
		err = c.refuse(ctx)
	case Timeout:
		// Silence.
	case TWRst:
		err = c.closeThen(ctx, func() error { return c.send(flagRst) })
	case TWFinAgain:
		err = c.closeThen(ctx, func() error { return c.repeat(ctx) })
	}
	if err != nil {
		return fmt.Errorf("play peer: %w", err)
	}
	return nil
}

// cross answers the kernel's FIN with one that does not acknowledge it, as if the two had
// met on the way, then acknowledges: FIN_WAIT1, CLOSING, TIME_WAIT.
func (c *conversation) cross(ctx context.Context) error {
	fin, err := c.expect(ctx, "FIN", func(s segment) bool { return s.is(flagFin) })
	if err != nil {
		return err
	}
	if err := c.send(flagFin | flagAck); err != nil {
		return err
	}
	if _, err := c.expect(ctx, "the ACK of our FIN", c.acknowledges); err != nil {
		return err
	}
	c.ack = fin.end()
	return c.send(flagAck)
}

// refuse answers data with an RST.
func (c *conversation) refuse(ctx context.Context) error {
	data, err := c.expect(ctx, "data", func(s segment) bool { return s.length > 0 })
	if err != nil {
		return err
	}
	c.ack = data.end()
	return c.send(flagRst | flagAck)
}

// closeThen lets the kernel close first and then does something to its TIME_WAIT. ACK and
// FIN are two segments, as from a peer whose program takes a moment to close.
func (c *conversation) closeThen(ctx context.Context, then func() error) error {
	fin, err := c.expect(ctx, "FIN", func(s segment) bool { return s.is(flagFin) })
	if err != nil {
		return err
	}
	c.ack = fin.end()
	if err := c.send(flagAck); err != nil {
		return err
	}
	if err := c.send(flagFin | flagAck); err != nil {
		return err
	}
	if _, err := c.expect(ctx, "the ACK of our FIN", c.acknowledges); err != nil {
		return err
	}
	return then()
}

// repeat sends the FIN again, as if the kernel's ACK had been lost, and sees it answered.
func (c *conversation) repeat(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(finAgainAfter):
	}
	c.seq--
	if err := c.send(flagFin | flagAck); err != nil {
		return err
	}
	_, err := c.expect(ctx, "the second ACK of our FIN", c.acknowledges)
	return err
}
