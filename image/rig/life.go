package rig

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrSave and ErrRestore say that xl could not write a guest's state to a file, or
// make a guest of it.
var (
	ErrSave    = errors.New("xl could not save the guest")
	ErrRestore = errors.New("xl could not restore the guest")
)

// renewEvery is how often AwaitReboot looks for a guest under another id.
const renewEvery = 100 * time.Millisecond

// Save suspends the guest and writes its state to a file in dom0, a little more than
// its memory is large: below /tmp there is room for it. The guest has ended then,
// and Restore is how it goes on.
func (d *Domain) Save(ctx context.Context, file string) error { return d.save(ctx, "", file) }

// Checkpoint is Save of a guest that goes on afterwards as the same domain. Its kernel
// is told that the suspend was none.
func (d *Domain) Checkpoint(ctx context.Context, file string) error { return d.save(ctx, "-c", file) }

func (d *Domain) save(ctx context.Context, flag, file string) error {
	result, err := d.host.Run(ctx, fmt.Sprintf("xl save %s %d %s", flag, d.ID, quote(file)))
	if err != nil {
		return fmt.Errorf("save guest %s: %w", d.Name, err)
	}
	if result.Code != 0 {
		return fmt.Errorf("%w %s (exit status %d): %s", ErrSave, d.Name, result.Code, strings.TrimSpace(result.Stderr))
	}
	return nil
}

// Restore makes of a file that Save wrote the guest that d was, under an id of its
// own, and returns as soon as xl does. The guest runs then, unless flags, which are
// those of xl restore, have -p. Its console goes on in the transcript of d, where Expect
// sees only what is new.
func (h *Host) Restore(ctx context.Context, d *Domain, file, flags string) (*Domain, error) {
	// A guest with a shell that takes commands does not say so again.
	again := &Domain{Name: d.Name, host: h, console: d.console, xenAt: h.Console.length(), commands: max(1, d.commands)}
	again.console.skip()
	result, err := h.Run(ctx, "xl restore "+flags+" "+quote(file))
	if err != nil {
		return nil, fmt.Errorf("restore guest %s: %w", d.Name, err)
	}
	if result.Code != 0 {
		return nil, fmt.Errorf("%w %s (exit status %d): %s", ErrRestore, d.Name, result.Code, strings.TrimSpace(result.Stderr))
	}
	if again.ID, err = h.DomID(ctx, d.Name); err != nil {
		return nil, fmt.Errorf("restore guest %s: %w", d.Name, err)
	}
	return again, nil
}

// AwaitReboot waits until xl has started the guest d again, under another id, because
// of Guest.OnReboot. Its console goes on in the transcript of d.
func (h *Host) AwaitReboot(ctx context.Context, d *Domain) (*Domain, error) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		// While there is no domain of that name xl says so: no error yet.
		if id, err := h.DomID(ctx, d.Name); err == nil && id != d.ID {
			return &Domain{Name: d.Name, ID: id, host: h, console: d.console, xenAt: d.xenAt}, nil
		}
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			return nil, fmt.Errorf("wait for guest %s to be started again: %w", d.Name, context.Cause(h.ctx))
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for guest %s to be started again: %w", d.Name, context.Cause(ctx))
		}
	}
}
