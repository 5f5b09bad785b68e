package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// BuildProgram builds a command of this module as a static program for the
// rig's domains.
func BuildProgram(ctx context.Context, pkg, out string) error {
	return goTool(ctx, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
}

// BuildTest builds a package's tests as a static program, to be run in dom0
// or in a guest.
func BuildTest(ctx context.Context, pkg, out string) error {
	return goTool(ctx, "test", "-c", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg)
}

func goTool(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
