// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// initProgram returns the guest's init: this program, built again in dir if the guest
// is of another architecture.
func initProgram(ctx context.Context, arch, dir string) (string, error) {
	if arch == runtime.GOARCH {
		name, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find own program: %w", err)
		}
		return name, nil
	}
	name := filepath.Join(dir, "init-"+arch)
	if _, err := goTool(ctx, arch, "build", "-o", name, "finwait/cmd/kernels"); err != nil {
		return "", fmt.Errorf("build init: %w", err)
	}
	return name, nil
}

// goTool runs the go command, which makes static programs for arch, and returns what it
// prints.
func goTool(ctx context.Context, arch string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if arch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+arch)
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run go %s: %w\n%s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
