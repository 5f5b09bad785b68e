package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// lockEvery is how often a lock of another process is tried again.
const lockEvery = 100 * time.Millisecond

// waitFor calls try until it says yes, fails, or ctx ends.
func waitFor(ctx context.Context, try func() (bool, error)) error {
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		ok, err := try()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// takeSlot waits until this machine can carry one more emulated host, one for
// every two CPUs, whoever runs the others: go test runs packages side by side,
// and two hosts on two CPUs are each slower than their deadlines allow for.
func takeSlot(ctx context.Context) (release func(), err error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	var taken *os.File
	try := func() (bool, error) {
		for i := range max(1, runtime.NumCPU()/2) {
			f, err := os.OpenFile(filepath.Join(cache, fmt.Sprintf("slot-%d", i)), os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				return false, err
			}
			ok, err := tryLock(f)
			if ok {
				taken = f
				return true, nil
			}
			_ = f.Close()
			if err != nil {
				return false, err
			}
		}
		return false, nil
	}
	if err := waitFor(ctx, try); err != nil {
		return nil, fmt.Errorf("wait for another emulated host to end: %w", err)
	}
	return func() { _ = taken.Close() }, nil
}
