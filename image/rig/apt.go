package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// apt asks the machine's package sources. It needs no root: packages are only
// downloaded, and lists that are missing or too old are fetched into a
// directory of its own.
type apt struct {
	dir     string // for private lists
	private bool   // use those
}

func (a *apt) options() []string {
	options := []string{"-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"}
	if a.private {
		options = append(options,
			"-o", "Dir::State="+filepath.Join(a.dir, "state"),
			"-o", "Dir::State::status=/var/lib/dpkg/status",
			"-o", "Dir::Cache="+filepath.Join(a.dir, "cache"))
	}
	return options
}

// download puts the packages' files into dir. It tries with the machine's
// lists first: they usually do, and take no time.
func (a *apt) download(ctx context.Context, packages, indirect []string, dir string) error {
	err := a.tryDownload(ctx, packages, indirect, dir)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err := a.update(ctx); err != nil {
		return err
	}
	return a.tryDownload(ctx, packages, indirect, dir)
}

// tryDownload downloads packages, and what each of indirect depends on
// instead of itself: linux-image-amd64 is empty and names the current kernel.
func (a *apt) tryDownload(ctx context.Context, packages, indirect []string, dir string) error {
	wanted := append([]string(nil), packages...)
	for _, name := range indirect {
		concrete, err := a.dependency(ctx, name)
		if err != nil {
			return err
		}
		wanted = append(wanted, concrete)
	}
	_, err := a.run(ctx, dir, "apt-get", append(a.options(), append([]string{"download"}, wanted...)...))
	return err
}

// dependency gives the first package that name depends on.
func (a *apt) dependency(ctx context.Context, name string) (string, error) {
	out, err := a.run(ctx, "", "apt-cache", append(a.options(), "depends", "--important", name))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if found, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok {
			return found, nil
		}
	}
	return "", fmt.Errorf("apt knows no package %s: the rig needs the package sources of Debian 12 (bookworm)", name)
}

// update fetches the lists of the machine's package sources into a.dir.
func (a *apt) update(ctx context.Context) error {
	a.private = true
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	_, err := a.run(ctx, "", "apt-get", append(a.options(), "update"))
	return err
}

// run gives the standard output of an apt program; its errors are in the error.
func (a *apt) run(ctx context.Context, dir, program string, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
