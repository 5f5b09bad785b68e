package rig

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/image"
)

// DebianImage says what is in the initramfs of a guest that is an ordinary Debian:
// systemd is its PID 1, packages can be installed, and root has a shell on the
// console, see Domain.Sh. It takes a guest with 512 MiB, and DebianCmdline.
type DebianImage struct {
	// Output is the file to write.
	Output string
	// Files are further files, by their path in the guest, as in Config.Files.
	Files map[string]string
}

// DebianCmdline is what such a guest needs on its command line. What systemd has to
// say stays off the console, on which the shell answers.
const DebianCmdline = "rdinit=/usr/lib/systemd/systemd systemd.show_status=0 systemd.log_target=journal"

const (
	// debianRecipe changes when the root's content does.
	debianRecipe  = "1"
	debianSuite   = "bookworm"
	debianInclude = "systemd-sysv,kmod"
)

// RequireDebian ends the test when no Debian root can be built here, by the rules that
// Boot names.
func RequireDebian(tb testing.TB) {
	tb.Helper()
	Require(tb)
	if onPath("mmdebstrap")() {
		return
	}
	const text = "a Debian root needs: apt-get install --no-install-recommends mmdebstrap"
	if os.Getenv("XVSOCK_RIG") == "1" {
		tb.Fatal(text)
	}
	tb.Skip(text)
}

// WriteDebianImage writes such an initramfs for the rig's guest kernel, with the
// modules that its Xen drivers are, and vhost_vsock. The first call builds the root.
func WriteDebianImage(ctx context.Context, parts *Parts, s DebianImage) error {
	root, err := debianRoot(ctx)
	if err != nil {
		return err
	}
	a := image.NewArchive()
	b := builder{parts: parts, archive: a}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"add the root", func() error { return addTar(a, root) }},
		{"add modules", func() error { return b.moduleTree(ctx) }},
		{"add files", func() error { return b.files(s.Files) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("debian image: %s: %w", step.what, err)
		}
	}
	addConsoleShell(a)
	return writeArchive(a, s.Output)
}

// debianRoot gives the root as a tar file, from the cache when it is there. Else it
// downloads some 40 MiB of packages and installs them into it.
func debianRoot(ctx context.Context) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock-debian"))
	if err != nil {
		return "", err
	}
	defer unlock()
	sum := sha256.Sum256([]byte(strings.Join([]string{debianRecipe, debianSuite, debianInclude}, "\n")))
	root := filepath.Join(cache, "debian-"+hex.EncodeToString(sum[:6])+".tar")
	if _, err := os.Stat(root); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	fresh := root + ".new"
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--format=tar", "--variant=essential", "--include="+debianInclude, debianSuite, fresh)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build a Debian root: run mmdebstrap: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return root, os.Rename(fresh, root)
}

// unwanted is what a guest can do without, by the beginning of its path: half of
// the root, all of which would be sent to dom0 and unpacked into memory.
func unwanted() []string {
	const multiarch = "usr/lib/x86_64-linux-gnu/"
	return []string{
		"dev/", "proc/", "sys/", "run/", "tmp/", "init", "etc/machine-id",
		"usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/i18n/", "usr/share/zoneinfo/",
		"usr/share/perl/", "usr/share/bash-completion/", "usr/share/bug/", "usr/share/lintian/",
		multiarch + "perl/", multiarch + "libperl.so", multiarch + "gconv/", "usr/lib/locale/",
		"usr/lib/systemd/systemd-networkd", "usr/lib/udev/hwdb.d/", "var/cache/", "var/lib/apt/", "var/log/",
	}
}

// addTar adds what is in a tar file, but for what is unwanted. All of it becomes
// root's, as everything in an archive is.
func addTar(a *image.Archive, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	kept := make(map[string][]byte) // what a hard link may name
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "./"))
		if name == "." || beginsWithAny(name, unwanted()) {
			continue
		}
		perm := uint32(h.Mode & 0o7777)
		switch h.Typeflag {
		case tar.TypeDir:
			a.Dir(name, perm)
		case tar.TypeSymlink:
			a.Link(name, h.Linkname)
		case tar.TypeLink:
			a.File(name, kept[path.Clean(h.Linkname)], perm)
		case tar.TypeReg:
			data, err := io.ReadAll(in)
			if err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			kept[name] = data
			a.File(name, data, perm)
		}
	}
}

func beginsWithAny(name string, beginnings []string) bool {
	for _, b := range beginnings {
		if strings.HasPrefix(name, b) {
			return true
		}
	}
	return false
}

// moduleTree adds the Xen drivers of the guest kernel as modprobe finds them.
func (b builder) moduleTree(ctx context.Context) error {
	modules, err := image.OpenModules(b.parts.Guest.Modules)
	if err != nil {
		return err
	}
	resolved, err := modules.Resolve(append(xenModules(), "vhost_vsock"))
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp("", "xvsock-modules-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	tree := filepath.Join(base, "lib/modules", modules.Version)
	for _, m := range resolved {
		file := filepath.Join(tree, m.Path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, m.Data, 0o644); err != nil {
			return err
		}
	}
	// depmod warns of lists of built-in modules that are not there.
	cmd := exec.CommandContext(ctx, "depmod", "-b", base, modules.Version)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if cmd.Err != nil {
		cmd.Path, cmd.Err = "/sbin/depmod", nil
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run depmod: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return filepath.WalkDir(tree, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(base, file)
		if err != nil {
			return err
		}
		return b.file(path.Join("usr", filepath.ToSlash(name)), file, 0o644) // /lib is a link to usr/lib
	})
}

// consoleShell is the unit of the shell.
const consoleShell = `[Unit]
Description=Shell on the console

[Service]
ExecStart=/bin/sh /usr/lib/rig-shell
StandardOutput=tty
StandardError=tty
TTYPath=/dev/hvc0
Environment=HOME=/root TERM=dumb SYSTEMD_COLORS=0 SYSTEMD_PAGER= PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`

// addConsoleShell makes systemd start a shell on the console, and nothing that
// would want the console too, or a bus that is not there.
func addConsoleShell(a *image.Archive) {
	a.File("usr/lib/rig-shell", []byte(shellLoop), 0o755)
	const units = "etc/systemd/system/"
	a.File(units+"rig-shell.service", []byte(consoleShell), 0o644)
	a.Link(units+"multi-user.target.wants/rig-shell.service", "../rig-shell.service")
	a.Link(units+"default.target", "/usr/lib/systemd/system/multi-user.target")
	for _, unit := range []string{"getty.target", "serial-getty@.service", "systemd-logind.service", "systemd-timesyncd.service"} {
		a.Link(units+unit, "/dev/null")
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "var/cache", "var/log"} {
		a.Dir(dir, 0o755)
	}
	a.Char("dev/console", 0o600, 5, 1)
	a.Char("dev/null", 0o666, 1, 3)
	// All of the journal stays in /run, and systemd takes this for a machine that
	// has been set up.
	a.File("etc/machine-id", []byte("00000000000040008000000000000001\n"), 0o444)
}
