package toolstack_test

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// live plays a backend: it opens the device, and closes it when it is told to.
func (r *rig) live(slow time.Duration) {
	store := r.store(r.back)
	dir := xenbus.BackPath(r.back.ID(), r.guest.ID())
	dev, err := xenbus.OpenBack(r.t.Context(), store, r.back.ID(), r.guest.ID())
	if err != nil {
		r.t.Fatal(err)
	}
	online, err := store.Watch(r.t.Context(), dir+"/online")
	if err != nil {
		r.t.Fatal(err)
	}
	if err := dev.Switch(r.t.Context(), xenbus.InitWait); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		defer dev.Close()
		for range online.Changed() {
			if v, err := store.Read(context.Background(), dir+"/online"); err != nil || v == "0" {
				break
			}
		}
		time.Sleep(slow)
		dev.Switch(context.Background(), xenbus.Closing)
		dev.Switch(context.Background(), xenbus.Closed)
	}()
}

func TestDetachLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		prepare  func(*rig)
		min, max time.Duration
	}{
		"a backend that never ran":    {func(*rig) {}, 0, 0},
		"a live backend":              {func(r *rig) { r.live(0) }, 0, time.Second},
		"a slow backend":              {func(r *rig) { r.live(3 * time.Second) }, 3 * time.Second, 4 * time.Second},
		"a backend that hangs":        {func(r *rig) { r.live(time.Hour) }, 5 * time.Second, 6 * time.Second},
		"a backend that was killed":   {func(r *rig) { r.tools.Write(r.t.Context(), xenbus.BackPath(2, 1)+"/state", "4") }, 5 * time.Second, 6 * time.Second},
		"a backend that is destroyed": {func(r *rig) { r.back.Destroy() }, 0, 0},
		"a frontend that has removed its half": {func(r *rig) {
			if err := r.store(r.guest).Remove(r.t.Context(), xenbus.FrontPath(1)); err != nil {
				r.t.Error(err)
			}
		}, 0, 0},
		"a state that is no state": {func(r *rig) { r.tools.Write(r.t.Context(), xenbus.BackPath(2, 1)+"/state", "x") }, 5 * time.Second, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.attach(r.back)
				c.prepare(r)
				synctest.Wait()
				begin := time.Now()
				if err := toolstack.Detach(t.Context(), r.tools, domain(r.guest)); err != nil {
					t.Error(err)
				}
				if took := time.Since(begin); took < c.min || took > c.max {
					t.Errorf("Detach took %v, want %v to %v", took, c.min, c.max)
				}
				for _, n := range r.tree() {
					if n != xenbus.BackendsPath(r.back.ID()) { // empty, for the next frontend
						t.Errorf("%s is left", n)
					}
				}
				if n := r.host.Xenstored().Usage(0).Watches; n != 0 {
					t.Errorf("%d watches are left", n)
				}
				time.Sleep(time.Hour) // the backend that hangs finds nothing to close
				if left := r.tree(); len(left) > 1 {
					t.Errorf("made again: %v", left)
				}
			})
		})
	}
}

func TestDetachOfADomainThatIsNotAttached(t *testing.T) {
	r := newRig(t)
	for range 2 {
		if err := toolstack.Detach(t.Context(), r.tools, domain(r.guest)); !errors.Is(err, toolstack.ErrNotAttached) {
			t.Errorf("Detach returned %v, want %v", err, toolstack.ErrNotAttached)
		}
	}
	if left := r.tree(); len(left) > 0 {
		t.Errorf("Detach made %v", left)
	}
}

// A frontend that writes into its half without end makes every transaction that
// touches it fail.
func TestDetachSucceedsAgainstAFrontendThatDisturbsEveryTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.attach(r.back)
		var commits atomic.Int32
		r.host.Xenstored().OnRequest(func(dom xen.DomID, op xenstore.Op, _ string) error {
			if dom == 0 && op == xenstore.OpTransactionEnd && commits.Add(1) > 2 { // the looks before may pass
				return syscall.EAGAIN
			}
			return nil
		})
		if err := toolstack.Detach(t.Context(), r.tools, domain(r.guest)); err != nil {
			t.Error(err)
		}
		r.host.Xenstored().OnRequest(nil)
		if left := r.tree(); len(left) > 1 {
			t.Errorf("left: %v", left)
		}
	})
}

func TestDetachEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.attach(r.back)
		r.live(time.Minute)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		err := toolstack.Detach(ctx, r.tools, domain(r.guest))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 2*time.Second {
			t.Errorf("Detach returned %v after %v", err, time.Since(begin))
		}
		time.Sleep(2 * time.Minute)
	})
}
