package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// vsockTestSource is the package whose tools/testing/vsock is built: the newest of
	// Debian 12, which has more cases than that of the kernel of the rig's guests.
	vsockTestSource = "linux-source-6.12"
	// vsockTestRecipe changes when the way in which it is built does.
	vsockTestRecipe = "1"
)

// vsockTestFlags are what the suite's own Makefile gives the compiler, but for
// warnings, and that the programs are static.
func vsockTestFlags() []string {
	return []string{
		"-static", "-O2", "-Wno-pointer-sign", "-fno-strict-overflow", "-fno-strict-aliasing", "-fno-common",
		"-U_FORTIFY_SOURCE", "-D_GNU_SOURCE", "-I.", "-I../../include",
	}
}

// vsockTestPrograms are the programs of the suite and what each is made of, besides
// what all have.
func vsockTestPrograms() map[string][]string {
	return map[string][]string{
		"vsock_test":      {"vsock_test_zerocopy.c", "msg_zerocopy_common.c"},
		"vsock_diag_test": nil,
	}
}

// VsockTests gives a directory with vsock_test and vsock_diag_test, which are Linux's
// own tests of AF_VSOCK, as static programs. The first call downloads the source of
// Debian's kernel, 150 MiB, and builds them; the source is not kept.
func VsockTests(ctx context.Context) (dir string, err error) {
	recipe := append([]string{vsockTestRecipe, vsockTestSource}, vsockTestFlags()...)
	return cached(ctx, "vsock-tests", recipe, func(work string) error {
		unpacked := filepath.Join(work, "unpacked")
		a := &apt{dir: filepath.Join(work, "apt")}
		for _, d := range []string{unpacked, a.dir} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		if err := a.download(ctx, []string{vsockTestSource}, nil, a.dir); err != nil {
			return err
		}
		if _, err := unpackAll(ctx, a.dir, unpacked); err != nil {
			return err
		}
		const suite = vsockTestSource + "/tools/testing/vsock"
		err := command(ctx, unpacked, "tar", "-xJf", "usr/src/"+vsockTestSource+".tar.xz", suite, vsockTestSource+"/tools/include")
		for program, sources := range vsockTestPrograms() {
			if err != nil {
				return err
			}
			args := slices.Concat(vsockTestFlags(), []string{"-o", filepath.Join(work, program), program + ".c",
				"timeout.c", "control.c", "util.c"}, sources)
			err = command(ctx, filepath.Join(unpacked, suite), "gcc", args...)
		}
		return errors.Join(err, os.RemoveAll(unpacked), os.RemoveAll(a.dir))
	})
}

// command runs a program in a directory.
func command(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}
