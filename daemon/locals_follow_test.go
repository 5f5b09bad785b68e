package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"

	"xvsock/bridge/door"
	"xvsock/xen"
)

// Who there is nobody to tell of is not asked for: a frontend's list of its peers may be
// long, and each of them changes.
func TestNeighboursAreListedOnlyWhereSomebodyIsTold(t *testing.T) {
	for _, c := range []struct {
		name string
		door *door.Server
		want int // lists, at the start and after two changes
	}{
		{"neither kernel nor door", nil, 0},
		{"a door", door.New(door.Config{Path: filepath.Join(t.TempDir(), "door")}), 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				l := &locals{self: func() xen.DomID { return 1 }, door: c.door, changed: make(chan struct{}, 1)}
				lists, done := 0, make(chan error)
				go func() {
					done <- l.follow(ctx, func() []neighbour { lists++; return nil })
				}()
				for range 2 {
					synctest.Wait()
					l.change()
				}
				synctest.Wait()
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("it ended: %v", err)
				}
				if lists != c.want {
					t.Errorf("%d lists, want %d", lists, c.want)
				}
			})
		})
	}
}
