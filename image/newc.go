package image

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/u-root/u-root/pkg/cpio"
)

// The newc format (Linux Documentation/driver-api/early-userspace/buffer-format.rst):
// a magic, thirteen numbers of eight hexadecimal digits, the name with its NUL,
// the content, both padded to four bytes.
const (
	newcHeader = 6 + 13*8
	maxPath    = 4096 // PATH_MAX, with the NUL: what the kernel takes as a name or a link's target
)

// ErrArchive says that a file is no initramfs, or a damaged one.
var ErrArchive = errors.New("not an initramfs (cpio, format newc)")

// record is one entry of an archive. Its bytes lie in the archive.
type record struct {
	name               string // as the archive has it, never empty
	ino, mode, links   uint32
	uid, gid           uint32
	devMajor, devMinor uint32 // with ino: who is a hard link of whom
	major, minor       uint32 // of a device
	data               []byte
}

// parseRecord reads the record at the start of b, and says how many bytes it
// takes, padding included. The archive starts at a multiple of four.
//
// u-root's reader, which reads what this package writes in the tests, does not
// serve here: it allocates whatever length a header claims for a name (4 GiB),
// does not notice content that is cut short, changes names, and cannot go on
// behind the end of a first archive, as the kernel does.
func parseRecord(b []byte) (r record, size int, err error) {
	if len(b) < newcHeader {
		return record{}, 0, fmt.Errorf("%w: cut short in a header", ErrArchive)
	}
	switch magic := string(b[:6]); magic {
	case "070701", "070702": // without and with a sum, which the kernel compares for the second
	case "070707":
		return record{}, 0, fmt.Errorf("%w: it is in the old format; use cpio -H newc", ErrArchive)
	default:
		return record{}, 0, fmt.Errorf("%w: %q stands where a header begins", ErrArchive, magic)
	}
	var fields [13]uint32
	for i := range fields {
		text := string(b[6+8*i : 14+8*i])
		n, err := strconv.ParseUint(text, 16, 32)
		if err != nil {
			return record{}, 0, fmt.Errorf("%w: %q stands for a number in a header", ErrArchive, text)
		}
		fields[i] = uint32(n)
	}
	length, nameLength := int64(fields[6]), int64(fields[11])
	if nameLength < 2 || nameLength > maxPath {
		return record{}, 0, fmt.Errorf("%w: a name of %d bytes", ErrArchive, nameLength)
	}
	from := roundUp(newcHeader + nameLength)
	if from+length > int64(len(b)) {
		return record{}, 0, fmt.Errorf("%w: cut short in a file", ErrArchive)
	}
	name, _, ok := bytes.Cut(b[newcHeader:newcHeader+nameLength], []byte{0})
	if !ok || len(name) == 0 {
		return record{}, 0, fmt.Errorf("%w: a name without an end", ErrArchive)
	}
	r = record{
		name: string(name), ino: fields[0], mode: fields[1], uid: fields[2], gid: fields[3], links: fields[4],
		devMajor: fields[7], devMinor: fields[8], major: fields[9], minor: fields[10],
		data: b[from : from+length : from+length],
	}
	return r, int(min(roundUp(from+length), int64(len(b)))), nil
}

// isEnd reports whether the record is the one that ends an archive.
func (r record) isEnd() bool { return r.name == cpio.Trailer }

// roundUp is the next multiple of four.
func roundUp(n int64) int64 { return (n + 3) &^ 3 }
