// SPDX-License-Identifier: Apache-2.0

package cases

// haproxy starts Debian's HAProxy with a configuration file of the directory of the case.
func (h *host) haproxy(port int, conf string) *server {
	h.t.Helper()
	return h.start("haproxy", port, h.command("haproxy", "-db", "-f", h.dir+"/"+conf))
}
