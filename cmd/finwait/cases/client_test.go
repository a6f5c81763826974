// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"fmt"
	"os"
	"path/filepath"
)

// clients are programs that this binary can be: their names are those of the links that it is started by.
var clients = map[string]func() error{"loadtest": loadtest, "pooled": pooled}

// clientMain is the whole of a client, in its process.
func clientMain() {
	client := clients[filepath.Base(os.Args[0])]
	if client == nil {
		return
	}
	if err := client(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// client makes one of the clients a program of the case's directory. A link, and not a shell's exec -a: the kernel names
// a process by the file that it was started as.
func (n *network) client(name string) {
	n.t.Helper()
	if clients[name] == nil {
		n.t.Fatalf("there is no client %s", name)
	}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(n.dir, name))
	}
	if err != nil {
		n.t.Fatal(err)
	}
}
