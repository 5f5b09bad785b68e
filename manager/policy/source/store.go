package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"time"

	"xvsock/manager/policy"
	"xvsock/xenstore"
)

// StoreFile is the name by which rules and errors name xenstore, as they name a
// file; the line is the rule's place in the set, from 1.
const StoreFile = "xenstore"

// readGap is the least time between two looks at the nodes.
const readGap = 100 * time.Millisecond

// Reader reads the rules that the toolstack wrote into xenstore, in their order, at
// one moment, and the version that it wrote with them. The error wraps
// fs.ErrNotExist if there are none.
type Reader func(ctx context.Context) (rules []string, version string, err error)

// Store is policy in xenstore, pushed there by the toolstack. A set is written in one
// transaction, so nothing has to settle.
type Store struct {
	*keeper
	client  *xenstore.Client
	version string // path of the node that is watched
	read    Reader
}

// NewStore returns the source of what read reads. version is the path of the node,
// beside the rules, that changes with every push; it need not exist. log may be nil.
func NewStore(client *xenstore.Client, version string, read Reader, log *slog.Logger) *Store {
	return &Store{keeper: newKeeper(path.Dir(version), log), client: client, version: version, read: read}
}

// Run calls apply with each good set, the first as soon as it was read, until ctx
// ends, which gives its cause, or the connection to xenstored does. It is called
// once.
func (s *Store) Run(ctx context.Context, apply func(*policy.Set)) error {
	changes, err := s.client.Watch(ctx, s.version)
	if err != nil {
		return fmt.Errorf("watch policy: %w", err)
	}
	defer changes.Close()
	var retry <-chan time.Time
	for {
		// The first value comes at once.
		select {
		case <-changes.Changed():
		case <-retry:
		case <-s.client.Done():
			return fmt.Errorf("watch policy: %w", s.client.Err())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r, err := s.look(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case s.client.Err() != nil:
			return fmt.Errorf("read policy: %w", s.client.Err())
		}
		retry = nil
		if d := s.take(r, err, nil, apply); d != 0 {
			retry = time.After(d)
		}
		if err := pause(ctx, readGap); err != nil {
			return err
		}
	}
}

// look reads the nodes.
func (s *Store) look(ctx context.Context) (reading, error) {
	rules, _, err := s.read(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return reading{absent: true}, nil
	}
	if err != nil {
		return reading{}, fmt.Errorf("read policy: %w", err)
	}
	size := 0
	for i, rule := range rules {
		// A rule with a line break would be two.
		if strings.Contains(rule, "\n") {
			return reading{}, &policy.Error{File: StoreFile, Line: i + 1, Reason: "a line break in a rule"}
		}
		if size += len(rule) + 1; size > MaxText {
			return reading{}, fmt.Errorf("%w: more than %d bytes", ErrTooBig, MaxText)
		}
	}
	return fromRules(rules), nil
}

// fromRules is what a reading of these rules gives.
func fromRules(rules []string) reading {
	return reading{files: []policy.File{{Name: StoreFile, Text: strings.Join(rules, "\n")}}}
}

// StoreVersion is the version that a Store gives to these rules.
func StoreVersion(rules []string) string { return fromRules(rules).version() }
