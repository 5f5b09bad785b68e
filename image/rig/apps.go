package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"xvsock/image"
)

// AppsImage says what is in the initramfs of a guest that is an ordinary Linux with
// programs of Debian's, as they are: python3, socat, OpenSSH's client and server. Its
// PID 1 is a script, so that it is up in seconds; it has AF_VSOCK, vhost-vsock and a
// loopback interface, and takes commands from its console, see Domain.Sh. It needs
// 256 MiB.
//
// One image does for all guests. The word module_blacklist=vhost_vsock on the kernel's
// command line makes a guest without that module.
type AppsImage struct {
	// Output is the file to write.
	Output string
	// Files are further files, by their path in the guest, as in Config.Files.
	Files map[string]string
	// Before is run once all drivers are there, in a shell script. The name of the
	// guest, from rig.name= on its command line, is in $name.
	Before string
}

const (
	// AppsDir is where InstallApps puts the programs in dom0.
	AppsDir = "/apps"
	// appsRecipe changes when the way in which the packages are unpacked does.
	appsRecipe = "1"
)

// appsPackages is what is unpacked for the programs: they, and what they link to. The
// names belong to Debian 12.
func appsPackages() []string {
	return []string{
		"python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "socat",
		"openssh-client", "openssh-server", "openssh-sftp-server",
		"libc6", "libaudit1", "libbsd0", "libcap-ng0", "libcap2", "libcbor0.8", "libcom-err2", "libcrypt1", "libedit2",
		"libexpat1", "libfido2-1", "libgcc-s1", "libgcrypt20", "libgpg-error0", "libgssapi-krb5-2", "libk5crypto3",
		"libkeyutils1", "libkrb5-3", "libkrb5support0", "liblz4-1", "liblzma5", "libmd0", "libnsl2", "libpam0g",
		"libpcre2-8-0", "libselinux1", "libssl3", "libsystemd0", "libtinfo6", "libtirpc3", "libudev1", "libwrap0",
		"libzstd1", "zlib1g",
	}
}

// appsUnwanted is what the programs can do without, by the beginning of its path.
func appsUnwanted() []string {
	const multiarch = "usr/lib/x86_64-linux-gnu/"
	return []string{
		"usr/share/", "etc/", "lib/systemd/", "usr/lib/systemd/", "var/",
		multiarch + "gconv/", multiarch + "perl", "usr/lib/python3.11/email/", "usr/lib/openssh/ssh-pkcs11-helper",
		"usr/lib/openssh/ssh-sk-helper", "usr/lib/openssh/ssh-keysign",
	}
}

// appsModules are the drivers of such a guest.
func appsModules() []string { return append(xenModules(), "vhost_vsock", "vsock_diag") }

// appsInit is the guest's PID 1 up to the drivers. A driver that may not be loaded is
// not there, and that is all.
const appsInit = `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs -o size=75%,mode=1777 tmp /tmp; mount -t xenfs xenfs /proc/xen 2>/dev/null
ln -s /proc/self/fd /dev/fd
ifconfig lo 127.0.0.1 up
name=$(sed -n 's/.*rig\.name=\([^ ]*\).*/\1/p' /proc/cmdline)
hostname "${name:-apps}"
`

// WriteAppsImage writes such an initramfs for the rig's guest kernel. The first call
// downloads some 15 MiB of packages.
func WriteAppsImage(ctx context.Context, parts *Parts, s AppsImage) error {
	root, err := appsRoot(ctx)
	if err != nil {
		return err
	}
	a := image.NewArchive()
	b := builder{parts: parts, archive: a}
	modules, err := image.OpenModules(parts.Guest.Modules)
	if err != nil {
		return fmt.Errorf("image with programs: %w", err)
	}
	paths, err := b.modules(modules, appsModules())
	if err != nil {
		return fmt.Errorf("image with programs: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"add the programs", func() error { return b.tree(root, appsUnwanted()) }},
		{"add the shell", func() error { return b.busybox(ctx) }},
		{"add files", func() error { return b.files(s.Files) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("image with programs: %s: %w", step.what, err)
		}
	}
	script := appsInit
	for _, module := range paths {
		script += "insmod " + module + " 2>/dev/null\n"
	}
	a.File("init", []byte(script+s.Before+"\n"+shellLoop), 0o755)
	addAccounts(a)
	return writeArchive(a, s.Output)
}

// addAccounts adds the directories and accounts that programs expect: root, sshd, and
// nobody, who may do nothing.
func addAccounts(a *image.Archive) {
	for _, dir := range []string{"dev", "proc", "sys", "run/sshd", "run/xvsock", "var/log", "var/lib", "var/empty", "mnt"} {
		a.Dir(dir, 0o755)
	}
	a.Dir("root", 0o700)
	a.Dir("tmp", 0o1777)
	a.Char("dev/console", 0o600, 5, 1)
	a.Char("dev/null", 0o666, 1, 3)
	a.File("etc/passwd", []byte("root:*:0:0:root:/root:/bin/sh\n"+
		"sshd:*:100:65534::/run/sshd:/bin/false\nnobody:*:65534:65534:nobody:/:/bin/sh\n"), 0o644)
	a.File("etc/group", []byte("root:*:0:\nnogroup:*:65534:\n"), 0o644)
	a.File("etc/hosts", []byte("127.0.0.1 localhost\n"), 0o644)
	a.File("etc/nsswitch.conf", []byte("passwd: files\ngroup: files\nhosts: files\n"), 0o644)
}

// appsRoot gives the directory into which the packages were unpacked, in the cache.
func appsRoot(ctx context.Context) (string, error) {
	return cached(ctx, "apps", append([]string{appsRecipe}, appsPackages()...), func(work string) error {
		debs := filepath.Join(work, "debs")
		if err := os.Mkdir(debs, 0o755); err != nil {
			return err
		}
		a := &apt{dir: filepath.Join(work, "apt")}
		if err := a.download(ctx, appsPackages(), nil, debs); err != nil {
			return err
		}
		if _, err := unpackAll(ctx, debs, work); err != nil {
			return err
		}
		return errors.Join(os.RemoveAll(debs), os.RemoveAll(a.dir))
	})
}

// cached gives a directory of the cache that belongs to a recipe. If it is not there
// yet, fill makes its content. Processes that call it at once wait for the first.
func cached(ctx context.Context, name string, recipe []string, fill func(work string) error) (dir string, err error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock-"+name))
	if err != nil {
		return "", err
	}
	defer unlock()
	sum := sha256.Sum256([]byte(strings.Join(recipe, "\n")))
	dir = filepath.Join(cache, name+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	work, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", err
	}
	if err := fill(work); err != nil {
		_ = os.RemoveAll(work)
		return "", fmt.Errorf("fill %s: %w", dir, err)
	}
	return dir, os.Rename(work, dir)
}

// tree adds a directory with all that is in it, but for what is unwanted.
func (b builder) tree(root string, unwanted []string) error {
	return filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		switch {
		case name == "." || beginsWithAny(name, unwanted):
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			b.archive.Link(name, target)
		case d.Type().IsRegular():
			info, err := d.Info()
			if err != nil {
				return err
			}
			return b.file(name, file, uint32(info.Mode().Perm()))
		}
		return nil
	})
}

// InstallApps unpacks an image of WriteAppsImage into AppsDir of dom0, which sees its
// own /dev, /proc, /sys, /run and /tmp there: the programs run by `chroot /apps`.
func (h *Host) InstallApps(ctx context.Context, ramdisk string) error {
	sent, err := h.sendOnce(ctx, ramdisk)
	if err != nil {
		return fmt.Errorf("install programs in dom0: %w", err)
	}
	r, err := h.Run(ctx, fmt.Sprintf("set -e; mkdir -p %[1]s; cd %[1]s; cpio -idm <%[2]s 2>/dev/null; rm init\n"+
		"for d in dev proc sys run tmp; do mount -o bind /$d %[1]s/$d; done; mkdir -p /run/sshd; ifconfig lo 127.0.0.1 up", AppsDir, sent))
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit status %d: %s", r.Code, strings.TrimSpace(r.Stderr))
	}
	if err != nil {
		return fmt.Errorf("install programs in dom0: %w", err)
	}
	return nil
}
