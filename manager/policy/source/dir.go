package source

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"xvsock/manager/policy"
)

// Dir is a directory of policy files, NN-name.policy, that are read in byte order
// of their names. Other files do not count.
//
// Files are best replaced by renaming over them, and whole sets by turning a
// symbolic link: both take effect at once and whole. A set that is written in
// place is read when nothing has changed for 100 ms, or after 500 ms.
//
//	      +---------------------------------------------+
//	      v                                             |
//	watch the way there --> read --> take or refuse --> wait for a change, settled
type Dir struct {
	*keeper
	path string
}

// NewDir returns the source that path leads to, which need not exist. log may be
// nil.
func NewDir(path string, log *slog.Logger) (*Dir, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("policy directory: %w", err)
	}
	return &Dir{keeper: newKeeper(abs, log), path: abs}, nil
}

// Run calls apply with each good set, the first as soon as it was read, until ctx
// ends; it returns the cause. It is called once.
func (d *Dir) Run(ctx context.Context, apply func(*policy.Set)) error {
	for {
		if err := d.turn(ctx, apply); err != nil {
			return err
		}
	}
}

// turn takes what the directory holds and waits for a change.
func (d *Dir) turn(ctx context.Context, apply func(*policy.Set)) error {
	// The watch comes first: what changes while we read is seen.
	w, late := watch(d.path)
	if late == nil {
		defer w.close()
	}
	r, err := readDir(d.path)
	retry := d.take(r, err, late, apply)
	if late != nil {
		return pause(ctx, retry)
	}
	return w.wait(ctx, retry)
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
