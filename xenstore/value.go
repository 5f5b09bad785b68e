package xenstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"xvsock/xen"
)

const (
	// MaxPath is the most bytes of a path that begins with "/"
	// (XENSTORE_ABS_PATH_MAX).
	MaxPath = 3072
	// MaxRelativePath is the most bytes of any other path, and of the part of a
	// path below a domain's directory (XENSTORE_REL_PATH_MAX).
	MaxRelativePath = 2048
	// MaxName is the most bytes of a node's name that CheckName accepts. It is
	// this package's own rule: a name that a peer chose becomes part of a path.
	MaxName = 256
)

var (
	// ErrValue says that a node's value is not what it should be.
	ErrValue = errors.New("malformed xenstore value")
	// ErrPath says that a text is not a path, or not the name of a node.
	ErrPath = errors.New("malformed xenstore path")
)

// ParseUint reads a number as it has to stand in a node that a peer may write
// (rule R13): decimal digits only, no sign, no blanks, no leading zero, at most
// limit. The error wraps ErrValue.
func ParseUint(text string, limit uint64) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > limit || strconv.FormatUint(n, 10) != text {
		return 0, fmt.Errorf("%w: %.24q is no number from 0 to %d", ErrValue, text, limit)
	}
	return n, nil
}

// ReadUint reads a node and parses it with ParseUint.
func (s *store) ReadUint(ctx context.Context, path string, limit uint64) (uint64, error) {
	text, err := s.Read(ctx, path)
	if err != nil {
		return 0, err
	}
	n, err := ParseUint(text, limit)
	if err != nil {
		return 0, &Error{Op: OpRead, Path: path, Err: err}
	}
	return n, nil
}

// ReadDomID reads a node that holds the id of a domain. An error of its value
// wraps xen.ErrDomID.
func (s *store) ReadDomID(ctx context.Context, path string) (xen.DomID, error) {
	text, err := s.Read(ctx, path)
	if err != nil {
		return 0, err
	}
	id, err := xen.ParseDomID(text)
	if err != nil {
		return 0, &Error{Op: OpRead, Path: path, Err: err}
	}
	return id, nil
}

// CheckName reports whether name can be the name of one node. The error wraps
// ErrPath.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName || !validBytes(name) || strings.Contains(name, "/") {
		return fmt.Errorf("%w: name %.64q", ErrPath, name)
	}
	return nil
}

// Join makes the path of a node below base from names that others have chosen.
// Each has to pass CheckName, so that none can lead out of base.
func Join(base string, names ...string) (string, error) {
	path := strings.TrimSuffix(base, "/")
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return "", err
		}
		path += "/" + name
	}
	return path, nil
}

// checkPath holds what xenstored accepts as the path of a node: "/", or names
// with a "/" between each two, with one before the first if the path is not
// relative to the domain's own directory. It keeps a NUL from becoming the start
// of another argument.
func checkPath(path string) error {
	limit, names := MaxRelativePath, path
	if strings.HasPrefix(path, "/") {
		limit, names = MaxPath, path[1:]
	}
	switch {
	case path == "/":
		return nil
	case len(path) > limit, !validBytes(path), strings.HasPrefix(path, "@"),
		names == "", strings.HasPrefix(names, "/"), strings.HasSuffix(names, "/"), strings.Contains(names, "//"):
		return fmt.Errorf("%w: %.64q", ErrPath, path)
	}
	return nil
}

// checkWatchPath accepts the special paths too: @introduceDomain,
// @releaseDomain, and @releaseDomain/<domid> of newer xenstored.
func checkWatchPath(path string) error {
	if special, ok := strings.CutPrefix(path, "@"); ok && !strings.HasPrefix(special, "/") {
		return checkPath(special)
	}
	return checkPath(path)
}

// validBytes reports whether s has only the bytes that C xenstored and
// oxenstored allow in paths.
func validBytes(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '/', c == '_', c == '@':
		default:
			return false
		}
	}
	return true
}
