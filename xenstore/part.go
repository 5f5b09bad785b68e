package xenstore

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
)

// part is an answer to DIRECTORY_PART: the node's generation, names each with a
// NUL, and after the last name of all one more NUL (docs/misc/xenstore.txt, and
// send_directory_part in xenstored for the end mark).
type part struct {
	generation string
	names      []byte // a part of the payload
	last       bool
}

// parsePart reads the payload of an answer to DIRECTORY_PART. The error wraps
// ErrProtocol. A part that is not the last has names in it, so that reading
// parts comes to an end.
func parsePart(payload []byte) (part, error) {
	generation, names, ok := bytes.Cut(payload, []byte{0})
	if !ok || len(generation) == 0 || len(names) == 0 || names[len(names)-1] != 0 {
		return part{}, fmt.Errorf("%w: malformed part of a list", ErrProtocol)
	}
	p := part{generation: string(generation), names: names}
	if len(names) == 1 || names[len(names)-2] == 0 {
		p.names, p.last = names[:len(names)-1], true
	}
	return p, nil
}

// isErrno reports whether err is that errno of xenstored's.
func isErrno(err error, errno syscall.Errno) bool {
	var is syscall.Errno
	return errors.As(err, &is) && is == errno
}
