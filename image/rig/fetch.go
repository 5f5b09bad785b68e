package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// xenPackages is what is unpacked of Xen and of what its tools link to, and a
// shell for dom0. The names belong to Debian 12.
func xenPackages() []string {
	return []string{
		"xen-hypervisor-4.17-amd64", "xen-utils-4.17", "xenstore-utils",
		"libxencall1", "libxendevicemodel1", "libxenevtchn1", "libxenforeignmemory1", "libxengnttab1",
		"libxenhypfs1", "libxenmisc4.17", "libxen-dev", "libxenstore4", "libxentoolcore1", "libxentoollog1",
		"libyajl2", "libuuid1", "zlib1g", "libzstd1", "liblzma5", "libgcc-s1", "libc6",
		"busybox-static",
	}
}

// kernelPackages name the current kernels: dom0's needs CONFIG_XEN_DOM0,
// which the small one for guests lacks.
func kernelPackages() []string { return []string{"linux-image-amd64", "linux-image-cloud-amd64"} }

const (
	// recipe changes when the cache's layout does.
	recipe = "2"
	// stampFile is written last and says what a directory of the cache holds.
	stampFile = "stamp.json"
	// dom0Kernel and guestKernel are the uncompressed kernels beside it.
	dom0Kernel, guestKernel = "vmlinux-dom0", "vmlinux-guest"
)

// Parts is where the unpacked pieces of a Xen host lie.
type Parts struct {
	// Dir holds everything, Root what came out of the packages.
	Dir, Root string
	// Xen is the hypervisor as an ELF file, which QEMU can load.
	Xen string
	// Dom0 and Guest are the kernels for dom0 and for guests.
	Dom0, Guest Kernel
	// Packages names what was unpacked, as NAME_VERSION.
	Packages []string
}

// Kernel is a Linux kernel of the rig.
type Kernel struct {
	// Version is its release, as uname -r says.
	Version string
	// Image is the bzImage (vmlinuz), Modules its lib/modules/VERSION.
	Image, Modules string
	// Boot is what the rig boots: the same kernel, uncompressed, because
	// unpacking it under emulation takes seconds.
	Boot string
}

// stamp is the file that tells what is in a directory of the cache.
type stamp struct {
	Packages    []string
	Dom0, Guest string // kernel releases
}

// CacheDir is where Fetch keeps what it unpacked: $XVSOCK_RIG_CACHE, or
// xvsock-rig in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("XVSOCK_RIG_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w; set XVSOCK_RIG_CACHE", err)
	}
	return filepath.Join(dir, "xvsock-rig"), nil
}

// Fetch gives the parts, from the cache when they are there. Else it
// downloads and unpacks the Debian packages, some 110 MiB; what is in the
// cache is kept until it is deleted. Processes that call it at once wait for
// the first.
func Fetch(ctx context.Context) (*Parts, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(cache, "parts-"+recipeKey())
	parts, err := readParts(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return parts, err
	}
	if err := fetchInto(ctx, cache, dir); err != nil {
		return nil, fmt.Errorf("fetch the parts of a Xen host into %s: %w", cache, err)
	}
	return readParts(dir)
}

func recipeKey() string {
	list := strings.Join(slices.Concat([]string{recipe}, xenPackages(), kernelPackages()), "\n")
	sum := sha256.Sum256([]byte(list))
	return hex.EncodeToString(sum[:6])
}

func readParts(dir string) (*Parts, error) {
	data, err := os.ReadFile(filepath.Join(dir, stampFile))
	if err != nil {
		return nil, err
	}
	var s stamp
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read %s: %w; delete %s", stampFile, err, dir)
	}
	p := &Parts{Dir: dir, Root: filepath.Join(dir, "root"), Xen: filepath.Join(dir, "xen"), Packages: s.Packages}
	p.Dom0, p.Guest = p.kernel(s.Dom0, dom0Kernel), p.kernel(s.Guest, guestKernel)
	return p, nil
}

func (p *Parts) kernel(version, unpacked string) Kernel {
	return Kernel{
		Version: version,
		Image:   filepath.Join(p.Root, "boot", "vmlinuz-"+version),
		Modules: filepath.Join(p.Root, "lib/modules", version),
		Boot:    filepath.Join(p.Dir, unpacked),
	}
}

// fetchInto fills a new directory and renames it to dir when all is there.
func fetchInto(ctx context.Context, cache, dir string) (err error) {
	work, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(work)
		}
	}()
	debs := filepath.Join(work, "debs")
	root := filepath.Join(work, "root")
	for _, d := range []string{debs, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	a := &apt{dir: filepath.Join(work, "apt")}
	if err := a.download(ctx, xenPackages(), kernelPackages(), debs); err != nil {
		return err
	}
	var s stamp
	if s.Packages, err = unpackAll(ctx, debs, root); err != nil {
		return err
	}
	if err := prepare(ctx, work, &s); err != nil {
		return err
	}
	for _, d := range []string{debs, a.dir} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, stampFile), data, 0o644); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// unpackAll unpacks every package file in debs and gives their names and
// versions. Nothing of a package is run.
func unpackAll(ctx context.Context, debs, root string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", file, root).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w: %s", filepath.Base(file), err, strings.TrimSpace(string(out)))
		}
		name := strings.TrimSuffix(filepath.Base(file), ".deb")
		name = name[:max(strings.LastIndexByte(name, '_'), 0)] // without the architecture
		names = append(names, strings.ReplaceAll(name, "%3a", ":"))
	}
	slices.Sort(names)
	return names, nil
}

// lock takes the exclusive lock of file and gives the function that lets go.
// The kernel lets go when the process ends.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := waitFor(ctx, func() (bool, error) { return tryLock(f) }); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { _ = f.Close() }, nil
}

// tryLock takes the lock of f if no other process has it.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
