package xenstore

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
)

// store holds the requests that a Client and a Tx have in common.
//
// A path that does not begin with "/" is relative to the directory of the
// caller's own domain.
type store struct {
	client *Client
	tx     uint32
	ended  atomic.Bool // the transaction is over
}

// Read returns the value of a node: any bytes, often another domain's.
func (s *store) Read(ctx context.Context, path string) (string, error) {
	value, err := s.onPath(ctx, OpRead, path, nil)
	return string(value), err
}

// Write sets the value of a node. It makes the node, and those above it, if they
// do not exist.
func (s *store) Write(ctx context.Context, path, value string) error {
	_, err := s.onPath(ctx, OpWrite, path, []byte(value))
	return err
}

// Mkdir makes a node without a value, and those above it. It leaves a node that
// exists alone.
func (s *store) Mkdir(ctx context.Context, path string) error {
	_, err := s.onPath(ctx, OpMkdir, path, nil)
	return err
}

// Remove removes a node and all below it. It is no error if there is no such
// node, but it is if the one above does not exist either.
func (s *store) Remove(ctx context.Context, path string) error {
	_, err := s.onPath(ctx, OpRemove, path, nil)
	return err
}

// GetPermissions returns who may do what with a node.
func (s *store) GetPermissions(ctx context.Context, path string) ([]Permission, error) {
	payload, err := s.onPath(ctx, OpGetPerms, path, nil)
	if err != nil {
		return nil, err
	}
	fail := func(err error) ([]Permission, error) { return nil, &Error{Op: OpGetPerms, Path: path, Err: err} }
	texts, err := SplitStrings(payload)
	if err != nil {
		return fail(err)
	}
	permissions := make([]Permission, len(texts))
	for i, text := range texts {
		if permissions[i], err = ParsePermission(text); err != nil {
			return fail(err)
		}
	}
	return permissions, nil
}

// SetPermissions says who may do what with a node. The first of permissions
// names the owner and what unnamed domains may do. Only the owner and domain 0
// may call it, and only domain 0 may change the owner. For the special paths
// @introduceDomain and @releaseDomain, reading is seeing their watches fire.
func (s *store) SetPermissions(ctx context.Context, path string, permissions ...Permission) error {
	var texts []byte
	for _, p := range permissions {
		texts = AppendStrings(texts, p.String())
	}
	_, err := s.onPath(ctx, OpSetPerms, path, texts)
	return err
}

// List returns the names of the nodes directly below a node, in no order that
// could be relied on.
func (s *store) List(ctx context.Context, path string) ([]string, error) {
	payload, err := s.onPath(ctx, OpDirectory, path, nil)
	if isErrno(err, syscall.E2BIG) {
		return s.listInParts(ctx, path)
	}
	if err != nil {
		return nil, err
	}
	names, err := SplitStrings(payload)
	if err != nil {
		return nil, &Error{Op: OpDirectory, Path: path, Err: err}
	}
	return names, nil
}

const (
	// maxList is the most bytes of a list that listInParts collects.
	maxList = 1 << 20
	// listAttempts is how often listInParts begins again when the list changes
	// under it.
	listAttempts = 8
)

// listInParts reads a list that is too long for one message.
func (s *store) listInParts(ctx context.Context, path string) ([]string, error) {
	for range listAttempts {
		list, same, err := s.readParts(ctx, path)
		if err != nil {
			return nil, err
		}
		if !same {
			continue
		}
		names, err := SplitStrings(list)
		if err != nil {
			return nil, &Error{Op: OpDirectory, Path: path, Err: err}
		}
		return names, nil
	}
	return nil, &Error{Op: OpDirectory, Path: path, Err: fmt.Errorf("changes too often: %w", syscall.EAGAIN)}
}

// readParts reads a list once, in parts. It returns false if the node's
// generation was not the same in all of them.
func (s *store) readParts(ctx context.Context, path string) (list []byte, same bool, err error) {
	var generation string
	for len(list) <= maxList {
		offset := strconv.Itoa(len(list))
		payload, err := s.onPath(ctx, OpDirectoryPart, path, AppendStrings(nil, offset))
		if err != nil {
			return nil, false, err
		}
		part, err := parsePart(payload)
		if err != nil {
			return nil, false, &Error{Op: OpDirectoryPart, Path: path, Err: err}
		}
		if len(list) > 0 && part.generation != generation {
			return nil, false, nil
		}
		generation = part.generation
		list = append(list, part.names...)
		if part.last {
			return list, true, nil
		}
	}
	return nil, false, &Error{Op: OpDirectoryPart, Path: path, Err: fmt.Errorf("%w: list of more than %d bytes", ErrProtocol, maxList)}
}

// onPath sends a request whose payload is a path, a NUL and rest.
func (s *store) onPath(ctx context.Context, op Op, path string, rest []byte) ([]byte, error) {
	check := checkPath
	if op == OpSetPerms {
		check = checkWatchPath
	}
	err := check(path)
	if err == nil && s.ended.Load() {
		err = ErrClosed
	}
	var payload []byte
	if err == nil {
		payload = append(AppendStrings(make([]byte, 0, len(path)+1+len(rest)), path), rest...)
		payload, err = s.client.call(ctx, &request{op: op, tx: s.tx, payload: payload})
	}
	if err != nil {
		return nil, &Error{Op: op, Path: path, Err: err}
	}
	return payload, nil
}
