package toolstack_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// fail refuses to write anything for one frontend.
func fail(front xen.DomID) func(xen.DomID, xenstore.Op, string) error {
	return func(_ xen.DomID, op xenstore.Op, path string) error {
		if op == xenstore.OpMkdir && path == xenbus.FrontPath(front) {
			return syscall.EIO
		}
		return nil
	}
}

func TestWatchFollowsItsBackend(t *testing.T) {
	for name, c := range map[string]struct {
		spec   func(*rig) string
		follow bool
	}{
		"by name":                       {func(*rig) string { return "back" }, true},
		"by id, and it is another's":    {func(*rig) string { return "2" }, false},
		"by id, which is its name too":  {func(r *rig) string { r.rename(r.back, "2"); return "2" }, false},
		"by uuid, and it is another's":  {func(r *rig) string { return "uuid:" + r.back.UUID() }, false},
		"by uuid, of one not there yet": {func(*rig) string { return "00000000-0000-4000-8000-000000000099" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				w := r.watch(toolstack.WatchConfig{Match: []string{"guest", "other"}, Backend: c.spec(r)})
				time.Sleep(time.Minute)
				r.back.Destroy()
				time.Sleep(time.Minute)
				r.back = r.host.Create(sim.DomainConfig{Name: "back", ID: 2, UUID: "00000000-0000-4000-8000-000000000099"})
				time.Sleep(time.Second)
				want := -1
				if c.follow {
					want = 2
				}
				r.expect("after the backend was made anew", map[*sim.Domain]int{r.guest: want, r.other: want})
				if n := len(w.lines("waiting for it")); n != 1 {
					t.Errorf("its absence is told %d times", n)
				}
			})
		})
	}
}

func TestWatchBacksOffFromADomainThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.host.Xenstored().OnRequest(fail(1))
		w := r.watch(toolstack.WatchConfig{Match: []string{"*"}, Backend: "back"})
		r.expect("at once", map[*sim.Domain]int{r.guest: -1, r.other: 2})
		time.Sleep(20 * time.Minute)
		// 1, 2, 4, 8, 16, 32 s, and then every minute.
		if n := len(w.lines("cannot attach")); n < 20 || n > 27 {
			t.Errorf("%d tries in 20 minutes", n)
		}
		r.host.Xenstored().OnRequest(nil)
		time.Sleep(61 * time.Second)
		r.expect("when it works again", map[*sim.Domain]int{r.guest: 2})
		told := len(w.lines("cannot attach"))
		r.host.Xenstored().OnRequest(fail(1))
		r.set(xenbus.BackPath(2, 1)+"/online", "0")
		r.host.Create(sim.DomainConfig{})
		time.Sleep(4 * time.Second)
		if n := len(w.lines("cannot attach")) - told; n != 3 { // at 0, 1 and 3 s
			t.Errorf("%d tries in 4 s: it is to begin anew after a success", n)
		}
	})
}

func TestWatchIsNotTroubledByADomainThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for n := int64(1); ; n++ {
			d := r.host.Create(sim.DomainConfig{Name: "dies"})
			var asked atomic.Int64
			var dead atomic.Bool
			ctx, cancel := context.WithCancel(t.Context())
			var log strings.Builder
			r.host.Xenstored().OnRequest(func(xen.DomID, xenstore.Op, string) error {
				if asked.Add(1) == n {
					dead.Store(true)
					d.Destroy()
				}
				return nil
			})
			err := toolstack.Watch(ctx, r.tools, toolstack.WatchConfig{
				Match: []string{"dies"}, Backend: "back", Log: slog.New(slog.NewTextHandler(&log, nil)), Ready: cancel,
			})
			r.host.Xenstored().OnRequest(nil)
			cancel()
			if err != nil || strings.Contains(log.String(), "level=WARN") {
				t.Fatalf("it died at request %d: %v %s", n, err, &log)
			}
			if !dead.Load() {
				if n < 50 {
					t.Errorf("only %d requests", n)
				}
				return
			}
		}
	})
}

func TestWatchEndsWithXenstore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		store := r.host.Toolstack()
		defer store.Close()
		err := make(chan error, 1)
		go func() {
			err <- toolstack.Watch(t.Context(), store, toolstack.WatchConfig{Match: []string{"*"}, Backend: "back"})
		}()
		time.Sleep(time.Minute)
		r.host.Xenstored().Disconnect(0)
		if err := <-err; !errors.Is(err, xenstore.ErrLost) {
			t.Errorf("Watch returned %v, want %v", err, xenstore.ErrLost)
		}
	})
}

func TestWatchNeedsTheRightsOfTheToolstack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		err := toolstack.Watch(t.Context(), r.store(r.guest), toolstack.WatchConfig{Match: []string{"*"}, Backend: "back"})
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Watch returned %v, want %v", err, fs.ErrPermission)
		}
	})
}

func TestWatchRefusesPatternsThatAreNone(t *testing.T) {
	for _, match := range [][]string{nil, {""}, {"ok", ""}, {strings.Repeat("*", 257)}} {
		err := toolstack.Watch(t.Context(), nil, toolstack.WatchConfig{Match: match, Backend: "0"})
		if !errors.Is(err, toolstack.ErrGlob) {
			t.Errorf("Watch(%.20q) returned %v", match, err)
		}
	}
}
