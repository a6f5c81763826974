// SPDX-License-Identifier: Apache-2.0

package tracer

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// giveCookies has every TCP socket of the calling thread's network namespace get a cookie,
// for kernels before 5.12, where a tracing program may read a cookie but not make one: as
// for ss(8), the kernel makes those that it shows by sock_diag(7). What it shows is not
// needed.
func giveCookies() error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if _, err := netlink.SocketDiagTCP(family); err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("have sockets named by sock_diag (is the module tcp_diag there?), without which one cannot be told from another that got its port: %w", err)
		}
	}
	return nil
}
