package rig

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pierrec/lz4/v4"
	"xvsock/image"
)

// prepare makes of the unpacked packages under work what QEMU and Xen can
// boot without unpacking it under emulation, and notes the kernels in s.
func prepare(ctx context.Context, work string, s *stamp) error {
	if err := unpackXen(work); err != nil {
		return fmt.Errorf("unpack the hypervisor: %w", err)
	}
	if err := findKernels(work, s); err != nil {
		return err
	}
	for _, kernel := range []struct{ version, to string }{{s.Dom0, dom0Kernel}, {s.Guest, guestKernel}} {
		vmlinuz := filepath.Join(work, "root/boot", "vmlinuz-"+kernel.version)
		if err := unpackKernel(ctx, vmlinuz, filepath.Join(work, kernel.to)); err != nil {
			return fmt.Errorf("unpack kernel %s: %w", kernel.version, err)
		}
	}
	return nil
}

// unpackXen writes the hypervisor's ELF file, which QEMU loads by multiboot;
// it does not know the compressed one.
func unpackXen(work string) error {
	found, err := filepath.Glob(filepath.Join(work, "root/boot/xen-*-amd64.gz"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("expected one boot/xen-*-amd64.gz in the packages, found %d", len(found))
	}
	in, err := os.Open(found[0])
	if err != nil {
		return err
	}
	defer in.Close()
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(work, "xen"), data, 0o644)
}

func findKernels(work string, s *stamp) error {
	found, err := filepath.Glob(filepath.Join(work, "root/boot/vmlinuz-*"))
	if err != nil {
		return err
	}
	for _, file := range found {
		version := strings.TrimPrefix(filepath.Base(file), "vmlinuz-")
		if strings.Contains(version, "cloud") {
			s.Guest = version
		} else {
			s.Dom0 = version
		}
	}
	if s.Guest == "" || s.Dom0 == "" {
		return errors.New("the packages hold no kernel for dom0 or none for guests")
	}
	return nil
}

// unpackKernel writes the vmlinux that the bzImage in vmlinuz holds, an ELF
// file that Xen and libxl boot as it is. Under emulation Xen takes 3 s to
// unpack dom0's, and libxl half of the time of xl create to unpack a guest's.
func unpackKernel(ctx context.Context, vmlinuz, vmlinux string) error {
	kernel, err := image.ReadKernel(vmlinuz)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(vmlinuz)
	if err != nil {
		return err
	}
	payload := data[kernel.PayloadOffset : kernel.PayloadOffset+kernel.PayloadLength]
	var unpacked []byte
	switch {
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		unpacked, err = unxz(ctx, payload[:len(payload)-4]) // the build appends the unpacked size
	case bytes.HasPrefix(payload, []byte("\x02\x21\x4c\x18")):
		unpacked, err = io.ReadAll(lz4.NewReader(bytes.NewReader(payload)))
	default:
		return os.WriteFile(vmlinux, data, 0o644) // Xen and libxl know more forms
	}
	if err != nil {
		return err
	}
	if _, err := elf.NewFile(bytes.NewReader(unpacked)); err != nil {
		return err
	}
	return os.WriteFile(vmlinux, unpacked, 0o644)
}

func unxz(ctx context.Context, data []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "xz", "-dc")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run xz: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
