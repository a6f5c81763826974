// SPDX-License-Identifier: Apache-2.0

package cases

import "syscall"

// nginx starts Debian's nginx with conf, which stands where /etc/nginx/nginx.conf has its
// http block; what is around it only moves files into the directory of the case.
// The error log is nginx-error.log.
func (h *host) nginx(port int, conf string) *server {
	h.t.Helper()
	around := "daemon off;\nworker_processes 2;\nuser nobody nogroup;\npid " + h.dir + "/nginx.pid;\n" +
		"events { worker_connections 4096; }\n"
	path := h.write(h.name+"-nginx.conf", around+"include "+h.dir+"/"+conf+";\n")
	return h.start("nginx", port, h.command("nginx", "-p", h.dir, "-e", h.dir+"/nginx-error.log", "-c", path))
}

// quit ends nginx as `nginx -s quit` does, and so closes its idle connections.
func (s *server) quit() {
	s.t.Helper()
	s.stop(syscall.SIGQUIT)
}
