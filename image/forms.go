package image

import "bytes"

// form is a way in which a part of an initramfs may be compressed.
type form struct {
	name   string
	magic  string
	config string // the option that lets a kernel read it
	// unpack gives what a part is, at most limit bytes, and how much of b it
	// takes; nil if that is not known here.
	unpack func(b []byte, limit int64) (data []byte, size int, err error)
}

// compression finds out how b is compressed (lib/decompress.c); nil if it is
// not.
func compression(b []byte) *form {
	for _, f := range []form{
		{"gzip", "\x1f\x8b", "CONFIG_RD_GZIP", unpackGzip},
		{"xz", "\xfd7zXZ\x00", "CONFIG_RD_XZ", unpackWith("xz")},
		{"zstd", "\x28\xb5\x2f\xfd", "CONFIG_RD_ZSTD", unpackWith("zst")},
		{"bzip2", "BZh", "CONFIG_RD_BZIP2", nil},
		{"lzma", "\x5d\x00", "CONFIG_RD_LZMA", nil},
		{"lzo", "\x89LZO", "CONFIG_RD_LZO", nil},
		{"lz4", "\x02\x21\x4c\x18", "CONFIG_RD_LZ4", nil},
	} {
		if bytes.HasPrefix(b, []byte(f.magic)) {
			return &f
		}
	}
	return nil
}
