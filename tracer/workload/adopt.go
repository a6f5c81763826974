// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// adoptionFd is the worker's end of a socket pair on which sockets change hands. Only
// the pair of workers that needs it has it.
const adoptionFd = 3

// give passes a connection to another process and closes this one's descriptor: the
// socket lives on, nothing is sent.
func (w *worker) give(fd int, h half) error {
	h.Side.Opener = w.pid
	note, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("give socket away: %w", err)
	}
	if err := unix.Sendmsg(adoptionFd, note, unix.UnixRights(fd), nil, 0); err != nil {
		return fmt.Errorf("give socket away: %w", err)
	}
	if err := closeSocket(fd); err != nil {
		return err
	}
	// Only now may the client close: its FIN must find the new owner alone.
	if err := unix.Send(adoptionFd, []byte("yours"), 0); err != nil {
		return fmt.Errorf("give socket away: %w", err)
	}
	return nil
}

// adopt takes a connection over from give, sees its client close and closes it.
func (w *worker) adopt() (half, error) {
	var h half
	fd, err := receive(&h)
	if err != nil {
		return half{}, fmt.Errorf("adopt socket: %w", err)
	}
	opener := h.Side
	h.Side = w.side()
	h.Side.Local, h.Side.Peer, h.Side.Opener = opener.Local, opener.Peer, opener.Opener
	if err := write(fd, []byte("!")); err != nil {
		return half{}, err
	}
	if h.Side.Method, err = readEnd(fd); err != nil {
		return half{}, err
	}
	h.Side.Closer = CloserPeer
	if err := acknowledge(fd); err != nil {
		return half{}, err
	}
	if err := closeSocket(fd); err != nil {
		return half{}, err
	}
	h.Ended = time.Now()
	return h, nil
}

func receive(h *half) (int, error) {
	if err := bound(adoptionFd); err != nil {
		return -1, err
	}
	note, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	var n, oobn int
	_, err := retry(func() (struct{}, error) {
		var err error
		n, oobn, _, _, err = unix.Recvmsg(adoptionFd, note, rights, unix.MSG_CMSG_CLOEXEC)
		return struct{}{}, err
	})
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oobn])
	if err != nil || len(messages) != 1 {
		return -1, errors.Join(errors.New("no descriptor came"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errors.New("no descriptor came"), err)
	}
	if err := json.Unmarshal(note[:n], h); err != nil {
		return -1, err
	}
	_, err = retry(func() (int, error) { return unix.Read(adoptionFd, note) })
	return fds[0], err
}
