package image_test

import (
	"errors"
	"path/filepath"
	"testing"

	"xvsock/image"
)

func TestParseKernel(t *testing.T) {
	k, err := image.ParseKernel(bzImage(release))
	want := image.Kernel{Version: release, PayloadOffset: 4*512 + 0x100, PayloadLength: 64}
	if err != nil || k != want {
		t.Errorf("ParseKernel = %+v, %v, want %+v", k, err, want)
	}

	for name, change := range map[string]func(b []byte) []byte{
		"a text":                             func([]byte) []byte { return []byte("text") },
		"a file cut short":                   func(b []byte) []byte { return b[:0x230] },
		"a header without a magic":           func(b []byte) []byte { b[0x202] = 0; return b },
		"a version text beyond the end":      func(b []byte) []byte { b[0x20f] = 0xff; return b },
		"no version text":                    func(b []byte) []byte { b[0x20e], b[0x20f] = 0, 0; return b },
		"an empty version text":              func(b []byte) []byte { b[0x600] = 0; return b },
		"a version that is a path":           func(b []byte) []byte { copy(b[0x600:], "../x"); return b },
		"a version text that does not end":   func(b []byte) []byte { return append(b[:0x600], []byte("6.1.0")...) },
		"a version with control characters":  func(b []byte) []byte { b[0x601] = 7; return b },
		"a version with bytes beyond 7 bits": func(b []byte) []byte { b[0x601] = 0xc3; return b },
	} {
		t.Run(name, func(t *testing.T) {
			k, err := image.ParseKernel(change(bzImage(release)))
			if !errors.Is(err, image.ErrNotKernel) {
				t.Errorf("ParseKernel = %+v, %v, want ErrNotKernel", k, err)
			}
		})
	}
	t.Run("a payload beyond the end is not reported", func(t *testing.T) {
		b := bzImage(release)
		b[0x24f] = 0xff
		if k, err := image.ParseKernel(b); err != nil || k.PayloadLength != 0 || k.PayloadOffset != 0 {
			t.Errorf("ParseKernel = %+v, %v", k, err)
		}
	})
}

func TestReadKernelNamesTheFile(t *testing.T) {
	dir := tree(t, map[string][]byte{"vmlinuz": []byte("text")})
	_, err := image.ReadKernel(filepath.Join(dir, "vmlinuz"))
	oneClearLine(t, err, "vmlinuz", "bzImage")
	_, err = image.ReadKernel(filepath.Join(dir, "gone"))
	oneClearLine(t, err, "gone")
}
