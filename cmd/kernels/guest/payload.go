// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"encoding/json"
	"fmt"
	"os"
)

// Where the host puts things in the initial file system.
const (
	InitPath    = "/init"
	PayloadPath = "/payload.json"
	ModuleDir   = "/modules"
)

// Payload says what to do in the machine.
type Payload struct {
	Args    []string // the program, an absolute path, and its arguments
	Env     []string // added to a small default
	Dir     string   // the working directory
	Modules []string // file names in ModuleDir, each after those it depends on
	Sysctls []string // net.ipv4.tcp_fin_timeout=5
}

func readPayload() (Payload, error) {
	var p Payload
	b, err := os.ReadFile(PayloadPath)
	if err != nil {
		return p, fmt.Errorf("read payload: %w", err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("decode payload: %w", err)
	}
	if len(p.Args) == 0 {
		return p, fmt.Errorf("decode payload: no program")
	}
	return p, nil
}
