package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Offsets of the x86 boot protocol's setup header (Linux
// Documentation/arch/x86/boot.rst) in a bzImage.
const (
	setupSectsAt    = 0x1f1 // u8: 512-byte sectors of setup code, without the first
	headerMagicAt   = 0x202 // "HdrS"
	headerVersionAt = 0x206 // u16: version of the boot protocol
	versionTextAt   = 0x20e // u16: offset of the version text, less 0x200
	payloadOffsetAt = 0x248 // u32: from the start of the protected-mode code
	payloadLengthAt = 0x24c // u32

	headerEnd      = 0x250
	payloadVersion = 0x0208 // the protocol that introduced the payload words
	maxVersionText = 256    // bytes looked at for the version text
	maxKernelFile  = 256 << 20
)

// ErrNotKernel says that a file is not an x86 bzImage.
var ErrNotKernel = errors.New("not an x86 Linux kernel (bzImage)")

// Kernel is what the header of a bzImage tells.
type Kernel struct {
	// Version is the kernel's release, as uname -r prints it and as
	// lib/modules names its directory.
	Version string
	// PayloadOffset and PayloadLength say which bytes of the file are the
	// compressed vmlinux. Both are 0 when the header does not tell.
	PayloadOffset, PayloadLength int64
}

// ReadKernel reads the header of the bzImage in file.
func ReadKernel(file string) (Kernel, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel: %w", err)
	}
	if info.Size() > maxKernelFile {
		return Kernel{}, fmt.Errorf("read kernel %s: %w: %d bytes are too many", file, ErrNotKernel, info.Size())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel: %w", err)
	}
	k, err := ParseKernel(b)
	if err != nil {
		return Kernel{}, fmt.Errorf("read kernel %s: %w", file, err)
	}
	return k, nil
}

// ParseKernel reads the header of the bzImage b.
func ParseKernel(b []byte) (Kernel, error) {
	if len(b) < headerEnd || string(b[headerMagicAt:headerMagicAt+4]) != "HdrS" {
		return Kernel{}, ErrNotKernel
	}
	at := int(binary.LittleEndian.Uint16(b[versionTextAt:]))
	if at == 0 || at+0x200 >= len(b) {
		return Kernel{}, fmt.Errorf("%w: its header names no version", ErrNotKernel)
	}
	text := b[at+0x200 : min(at+0x200+maxVersionText, len(b))]
	end := bytes.IndexAny(text, " \x00")
	if end <= 0 || !isVersion(string(text[:end])) {
		return Kernel{}, fmt.Errorf("%w: its version text is damaged", ErrNotKernel)
	}
	k := Kernel{Version: string(text[:end])}
	if binary.LittleEndian.Uint16(b[headerVersionAt:]) < payloadVersion {
		return k, nil
	}
	sectors := int64(b[setupSectsAt])
	if sectors == 0 {
		sectors = 4 // the protocol's rule for very old kernels
	}
	offset := (sectors+1)*512 + int64(binary.LittleEndian.Uint32(b[payloadOffsetAt:]))
	length := int64(binary.LittleEndian.Uint32(b[payloadLengthAt:]))
	if length > 0 && offset+length <= int64(len(b)) {
		k.PayloadOffset, k.PayloadLength = offset, length
	}
	return k, nil
}

// isVersion reports whether s can be a kernel release, and so a directory
// under lib/modules: printable, without a slash, and no walk upwards.
func isVersion(s string) bool {
	if s == "" || s == "." || s == ".." {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '/' {
			return false
		}
	}
	return true
}
