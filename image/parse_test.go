package image

import (
	"bytes"
	"strings"
	"testing"

	"xvsock/kmod"
)

func FuzzParseModinfo(f *testing.F) {
	f.Add([]byte("license=GPL\x00depends=a,b-c\x00vermagic=6.1.0 SMP\x00name=x\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		info, err := parseModinfo(in)
		if err != nil {
			return
		}
		for _, name := range info.depends {
			if !kmod.IsName(name) {
				t.Errorf("%q was taken for a module's name", name)
			}
		}
		if strings.Contains(info.release, " ") {
			t.Errorf("%q was taken for a release", info.release)
		}
	})
}

func FuzzReadModinfo(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := readModinfo(bytes.NewReader(in)); err == nil && !bytes.HasPrefix(in, []byte("\x7fELF")) {
			t.Error("what is no ELF file was taken for a module")
		}
	})
}

func FuzzParseKernel(f *testing.F) {
	seed := make([]byte, 2048)
	copy(seed[headerMagicAt:], "HdrS")
	seed[headerVersionAt+1] = 2
	seed[versionTextAt+1] = 2
	copy(seed[0x400:], "6.1.0 (x)")
	f.Add(seed)
	f.Fuzz(func(t *testing.T, in []byte) {
		k, err := ParseKernel(in)
		if err != nil {
			return
		}
		if !isVersion(k.Version) {
			t.Errorf("%q was taken for a version", k.Version)
		}
		if k.PayloadOffset < 0 || k.PayloadOffset+k.PayloadLength > int64(len(in)) {
			t.Errorf("the payload %d+%d lies outside of %d bytes", k.PayloadOffset, k.PayloadLength, len(in))
		}
	})
}
