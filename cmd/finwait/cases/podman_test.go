// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// engine is podman on a host: with its storage, its networks and its cgroups, all of which
// are gone with the test. The host network of its containers is the host's namespace.
type engine struct {
	*host
	holder *server // of the mount namespace that podman sees
}

// Containers get their limits and networks from here, so that commands stay as they are typed. vfs
// needs nothing of the file system, and cgroupfs no systemd. pids_limit would need a controller that a
// host with cgroup v1 beside v2 keeps in v1, and limits cannot be raised without CAP_SYS_RESOURCE.
const containersConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
pids_limit = 0
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "DIR/podman/tmp"
volume_path = "DIR/podman/volumes"
[network]
network_backend = "netavark"
network_config_dir = "DIR/podman/networks"
`

const storageConf = `[storage]
driver = "vfs"
graphroot = "DIR/podman/storage"
runroot = "DIR/podman/run"
`

// podman prepares the engine. It sees cgroup v2 alone: Debian's crun refuses hosts with v1 and v2 side by side.
func (h *host) podman() *engine {
	h.t.Helper()
	for name, text := range map[string]string{"containers.conf": containersConf, "storage.conf": storageConf} {
		h.write(name, strings.ReplaceAll(text, "DIR", h.dir))
	}
	for _, dir := range []string{"tmp", "volumes", "networks"} {
		h.write("podman/"+dir+"/.keep", "")
	}
	holder := h.start("holder", 0, h.command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		"mount -t cgroup2 none /sys/fs/cgroup && mkdir -p /run/netns /run/containers && mount -t tmpfs none /run/netns && mount -t tmpfs none /run/containers && echo ready && exec sleep infinity"))
	holder.await("its mounts", func() bool { return strings.Contains(h.read(holder.log), "ready") })
	e := &engine{host: h, holder: holder}
	h.t.Cleanup(func() {
		e.try("podman rm --all --force --time 0")
		e.dropCgroups()
	})
	return e
}

// try runs a command line where podman is.
func (e *engine) try(line string) shown {
	e.t.Helper()
	return e.attempt(line, e.command)
}

// sh is try with exit status 0.
func (e *engine) sh(line string) shown {
	e.t.Helper()
	s := e.try(line)
	if s.status != 0 {
		e.t.Fatalf("%s# %s: exit status %d\n%s", e.name, line, s.status, s.out)
	}
	return s
}

func (e *engine) command(args ...string) *exec.Cmd {
	cmd := e.host.command(append([]string{"nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", e.holder.cmd.Process.Pid), "--wd=" + e.dir, "--"}, args...)...)
	cmd.Env = append(cmd.Env, "CONTAINERS_CONF="+e.dir+"/containers.conf", "CONTAINERS_STORAGE_CONF="+e.dir+"/storage.conf")
	return cmd
}

// image makes an image of one static program: this test's binary under the name of a client.
func (e *engine) image(name string) {
	e.t.Helper()
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(e.dir, "root", name), "finwait/cmd/finwait/cases")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("build %s: %v: %s", name, err, out)
	}
	e.sh("tar -C root -c . | podman import --quiet - " + name)
}

// dropCgroups removes the cgroups that podman has made for this test's containers: it leaves their parent.
func (e *engine) dropCgroups() {
	const parent = "/sys/fs/cgroup/libpod_parent"
	e.try("rmdir " + parent + "/libpod-* " + parent + "/conmon " + parent + " 2>/dev/null")
}
