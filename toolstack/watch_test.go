package toolstack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
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

// watching is a Watch that runs.
type watching struct {
	*rig
	stop func() error

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes a line of the log.
func (w *watching) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// lines are those of the log with a word in them.
func (w *watching) lines(word string) (found []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return found
}

// watch starts a Watch, and waits until it is ready and idle.
func (r *rig) watch(cfg toolstack.WatchConfig) *watching {
	w := &watching{rig: r}
	cfg.Log = slog.New(slog.NewTextHandler(w, nil))
	ready := make(chan struct{})
	cfg.Ready = func() { close(ready) }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- toolstack.Watch(ctx, r.tools, cfg) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	r.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			r.t.Errorf("Watch ended with %v", err)
		}
		if n := r.host.Xenstored().Usage(0).Watches; n != 0 {
			r.t.Errorf("%d watches are left", n)
		}
	})
	<-ready
	return w
}

// attachedTo is the id of the backend below which the toolstack has a device for
// d as it is now, online and with both halves; -1 if there is none.
func (r *rig) attachedTo(d *sim.Domain) int {
	r.t.Helper()
	for _, b := range []*sim.Domain{r.dom0, r.back, r.other} {
		dir := xenbus.BackPath(b.ID(), d.ID())
		uuid := strings.Fields(r.node(dir + "/uuid"))[0]
		if uuid == d.UUID() && strings.HasPrefix(r.node(dir+"/online"), "1 ") && r.node(xenbus.FrontPath(d.ID())) != "(none)" {
			return int(b.ID())
		}
	}
	return -1
}

// expect checks to which backend domains are attached.
func (r *rig) expect(when string, want map[*sim.Domain]int) {
	r.t.Helper()
	for d, back := range want {
		if got := r.attachedTo(d); got != back {
			r.t.Errorf("%s: %s (%v) is attached to %d, want %d", when, d.Name(), d.ID(), got, back)
		}
	}
}

// set writes a node with the toolstack's rights.
func (r *rig) set(node, value string) {
	r.t.Helper()
	if err := r.tools.Write(r.t.Context(), node, value); err != nil {
		r.t.Fatal(err)
	}
}

// rename gives a domain another name as libxl does.
func (r *rig) rename(d *sim.Domain, name string) {
	r.t.Helper()
	r.set("/local/domain/"+d.ID().String()+"/name", name)
	r.set("/vm/"+d.UUID()+"/name", name)
}

// requests counts what domain 0 asks of xenstored from now on.
func (r *rig) requests() *atomic.Int64 {
	n := new(atomic.Int64)
	r.host.Xenstored().OnRequest(func(dom xen.DomID, _ xenstore.Op, _ string) error {
		if dom == 0 {
			n.Add(1)
		}
		return nil
	})
	return n
}

func TestWatchAttachesEveryDomainThatMatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		table := func(d toolstack.Domain) []string { return map[string][]string{"web-1": {"edge"}}[d.Name] }
		w := r.watch(toolstack.WatchConfig{Match: []string{"g*t", "web-?", "back"}, Backend: "back", Tags: table})
		r.expect("at the start", map[*sim.Domain]int{r.guest: 2, r.back: -1, r.other: -1, r.dom0: -1})

		time.Sleep(time.Hour)
		web := r.host.Create(sim.DomainConfig{Name: "web-1"})
		long := r.host.Create(sim.DomainConfig{Name: "web-10"})
		time.Sleep(time.Second)
		r.expect("when it appears", map[*sim.Domain]int{web: 2, long: -1})
		if got := r.node(xenbus.BackPath(2, web.ID()) + "/tags"); got != "edge n2" {
			t.Errorf("tags are %q", got)
		}
		if lines := w.lines("msg=attached"); len(lines) != 2 || !strings.Contains(lines[1], "name=web-1 backend=2") {
			t.Errorf("two attaches are told by %q", lines)
		}
		if lines := w.lines("level=WARN"); len(lines) > 0 {
			t.Errorf("complains: %q", lines)
		}
	})
}

func TestWatchAttachesADomainThatCameBack(t *testing.T) {
	for name, back := range map[string]func(*rig) *sim.Domain{
		"rebooted": func(r *rig) *sim.Domain {
			r.guest.Destroy()
			return r.host.Create(sim.DomainConfig{Name: "guest", UUID: r.guest.UUID()})
		},
		"re-created under the same id": func(r *rig) *sim.Domain {
			r.guest.Destroy()
			return r.host.Create(sim.DomainConfig{Name: "guest", ID: 1})
		},
		"saved and restored": func(r *rig) *sim.Domain {
			if err := errors.Join(r.guest.Suspend(), r.guest.Resume()); err != nil {
				r.t.Fatal(err)
			}
			return r.guest
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.watch(toolstack.WatchConfig{Match: []string{"guest"}, Backend: "back"})
				first := r.node(xenbus.BackPath(2, 1) + "/attachment")
				time.Sleep(time.Minute)
				d := back(r)
				time.Sleep(time.Second)
				r.expect("after it", map[*sim.Domain]int{d: 2})
				if again := r.node(xenbus.BackPath(2, d.ID()) + "/attachment"); again == first {
					t.Error("it has the attachment of before")
				}
				if left := r.node("/local/domain/2/backend/xvsock/1"); d.ID() != 1 && left != "(none)" {
					t.Errorf("its old id has left %q behind", left)
				}
			})
		})
	}
}

// Ids are used again: what a domain leaves behind would be the next one's.
func TestWatchRemovesWhatADomainLeftBehind(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rig)
		left   bool
	}{
		"a domain that runs and is none of ours": {func(r *rig) {}, true},
		"a domain that was destroyed":            {func(r *rig) { r.guest.Destroy() }, false},
		"another domain has its id": {func(r *rig) {
			r.guest.Destroy()
			r.host.Create(sim.DomainConfig{Name: "stranger", ID: 1})
		}, false},
		"another domain has its id, and was attached by hand": {func(r *rig) {
			r.guest.Destroy()
			r.guest = r.host.Create(sim.DomainConfig{Name: "stranger", ID: 1})
			r.attach(r.back)
		}, true},
		"a domain that was shut down": {func(r *rig) { r.guest.Shutdown() }, true},
	} {
		for _, when := range []string{"before", "while"} {
			t.Run(name+" "+when+" it watches", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.attach(r.back)
					cfg := toolstack.WatchConfig{Match: []string{"none"}, Backend: "back"}
					if when == "while" {
						r.watch(cfg)
						time.Sleep(time.Minute)
					}
					c.change(r)
					if when == "before" {
						r.watch(cfg)
					}
					time.Sleep(time.Second)
					if left := r.node("/local/domain/2/backend/xvsock/1") != "(none)"; left != c.left {
						t.Errorf("the nodes are there: %v, want %v", left, c.left)
					}
				})
			})
		}
	}
}

func TestWatchRemovesNothingThatWasAttachedJustNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.attach(r.back)
		r.guest.Destroy()
		r.guest = r.host.Create(sim.DomainConfig{Name: "stranger", ID: 1})
		tools := r.host.Toolstack()
		defer tools.Close()
		attached := false
		r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, _ string) error {
			if op == xenstore.OpTransactionStart && !attached {
				attached = true
				if err := toolstack.Attach(context.Background(), tools, domain(r.guest), domain(r.back), nil); err != nil {
					t.Error(err)
				}
			}
			return nil
		})
		r.watch(toolstack.WatchConfig{Match: []string{"none"}, Backend: "back"})
		r.expect("after the first look", map[*sim.Domain]int{r.guest: 2})
		if !attached {
			t.Error("there was no transaction")
		}
	})
}

func TestWatchLeavesAloneWhatIsAttached(t *testing.T) {
	back := xenbus.BackPath(2, 1)
	for name, c := range map[string]struct {
		change func(*rig)
		again  bool
	}{
		"nothing changed":       {func(*rig) {}, false},
		"the states changed":    {func(r *rig) { r.set(back+"/state", "4"); r.set(xenbus.FrontPath(1)+"/state", "4") }, false},
		"the frontend lies":     {func(r *rig) { r.set(xenbus.FrontPath(1)+"/backend-id", "3") }, false},
		"it went offline":       {func(r *rig) { r.set(back+"/online", "0") }, true},
		"the uuid is another's": {func(r *rig) { r.set(back+"/uuid", r.other.UUID()) }, true},
		"it was renamed":        {func(r *rig) { r.rename(r.guest, "guest-2") }, true},
		"the frontend's half is gone": {func(r *rig) {
			if err := r.tools.Remove(r.t.Context(), xenbus.FrontPath(1)); err != nil {
				r.t.Error(err)
			}
		}, true},
		"it was detached": {func(r *rig) {
			if err := toolstack.Detach(r.t.Context(), r.tools, domain(r.guest)); err != nil {
				r.t.Error(err)
			}
		}, true},
		"it was moved": {func(r *rig) { r.attach(r.dom0) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.attach(r.back, "by-hand")
				first := r.node(back + "/attachment")
				w := r.watch(toolstack.WatchConfig{Match: []string{"guest*"}, Backend: "back"})
				time.Sleep(time.Minute)
				if r.node(back+"/attachment") != first {
					t.Error("it was attached again at the start")
				}
				c.change(r)
				for range 3 { // any event makes it look
					r.host.Create(sim.DomainConfig{})
					time.Sleep(time.Minute)
				}
				if again := r.node(back+"/attachment") != first; again != c.again {
					t.Errorf("attached again: %v, want %v", again, c.again)
				}
				r.expect("in the end", map[*sim.Domain]int{r.guest: 2})
				if n := len(w.lines("msg=attached")); n > 1 {
					t.Errorf("attached %d times", n)
				}
			})
		})
	}
}

func TestWatchSeesARename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := r.watch(toolstack.WatchConfig{Match: []string{"web*"}, Backend: "0"})
		in := r.host.Create(sim.DomainConfig{Name: "web--incoming"})
		time.Sleep(time.Hour)
		if r.attachedTo(in) >= 0 {
			t.Error("a domain that does not run yet was attached")
		}
		r.rename(in, "web")
		time.Sleep(time.Second)
		r.expect("after its rename", map[*sim.Domain]int{in: 0})
		time.Sleep(time.Hour)
		r.rename(in, "web--migratedaway")
		time.Sleep(time.Second)
		if got := r.node(xenbus.BackPath(0, in.ID()) + "/name"); got != "web n0 r"+in.ID().String() {
			t.Errorf("the domain that has moved away is attached as %s", got)
		}
		if lines := w.lines("msg=attached"); len(lines) != 1 {
			t.Errorf("attached %q", lines)
		}
	})
}

// Not every toolstack has a /vm.
func TestWatchSeesADomainComeAndGoByItselfAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.watch(toolstack.WatchConfig{Match: []string{"bare"}, Backend: "back"})
		time.Sleep(time.Hour)
		r.host.Xenstored().Create(50)
		r.set("/local/domain/50/name", "bare")
		time.Sleep(time.Hour)
		if got := r.node(xenbus.BackPath(2, 50) + "/name"); got != "(none)" {
			t.Errorf("attached before anything happened: %s", got)
		}
		r.host.Xenstored().Introduce(50)
		time.Sleep(time.Second)
		if got := r.node(xenbus.BackPath(2, 50) + "/name"); got != "bare n2 r50" {
			t.Errorf("after @introduceDomain its name is %q", got)
		}
		time.Sleep(time.Hour)
		if err := r.tools.Remove(t.Context(), "/local/domain/50"); err != nil {
			t.Fatal(err)
		}
		r.host.Xenstored().Release(50)
		time.Sleep(time.Second)
		if got := r.node("/local/domain/2/backend/xvsock/50"); got != "(none)" {
			t.Errorf("after @releaseDomain %q is left", got)
		}
	})
}

// Not every toolstack writes the name first, or below /vm.
func TestWatchSeesANameThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.watch(toolstack.WatchConfig{Match: []string{"late"}, Backend: "back"})
		time.Sleep(time.Hour)
		d := r.host.Create(sim.DomainConfig{Name: "x"})
		time.Sleep(3 * time.Second)
		r.set("/local/domain/"+d.ID().String()+"/name", "late")
		time.Sleep(5 * time.Second)
		r.expect("some seconds later", map[*sim.Domain]int{d: 2})
	})
}

func TestWatchAsksNothingOnAnIdleHost(t *testing.T) {
	for name, prepare := range map[string]func(*rig){
		"nothing":                  func(*rig) {},
		"a backend that is absent": func(r *rig) { r.back.Destroy() },
		"a domain that moves here": func(r *rig) { r.host.Create(sim.DomainConfig{Name: "guest--incoming"}) },
		"a failing domain that was renamed": func(r *rig) {
			r.host.Xenstored().OnRequest(fail(1))
			r.set(xenbus.BackPath(2, 1)+"/online", "0")
			r.host.Create(sim.DomainConfig{})
			time.Sleep(10 * time.Second)
			r.rename(r.guest, "nobody")
		},
		"a failing domain, and its backend is gone": func(r *rig) {
			r.host.Xenstored().OnRequest(fail(1))
			r.set(xenbus.BackPath(2, 1)+"/online", "0")
			r.host.Create(sim.DomainConfig{})
			time.Sleep(10 * time.Second)
			r.back.Destroy()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.watch(toolstack.WatchConfig{Match: []string{"guest*"}, Backend: "back"})
				prepare(r)
				time.Sleep(2 * time.Minute)
				n := r.requests()
				time.Sleep(24 * time.Hour)
				if n.Load() != 0 {
					t.Errorf("%d requests in a day", n.Load())
				}
			})
		})
	}
}

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

func TestWatchCopesWithHundredsOfDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		const many = 500
		var all []*sim.Domain
		for i := range many {
			all = append(all, r.host.Create(sim.DomainConfig{Name: fmt.Sprintf("many-%d", i)}))
		}
		n := r.requests()
		w := r.watch(toolstack.WatchConfig{Match: []string{"many-*"}, Backend: "back"})
		if perDomain := n.Load() / many; perDomain > 80 {
			t.Errorf("%d requests a domain", perDomain)
		}
		for _, d := range all {
			if r.attachedTo(d) != 2 {
				t.Fatalf("domain %v is not attached", d.ID())
			}
		}
		time.Sleep(time.Minute)
		n.Store(0)
		r.host.Create(sim.DomainConfig{})
		time.Sleep(time.Minute)
		if perDomain := n.Load() / many; perDomain > 60 {
			t.Errorf("%d requests a domain to look at one event", perDomain)
		}
		if lines := w.lines("msg=attached"); len(lines) != many {
			t.Errorf("%d lines tell of %d attaches", len(lines), many)
		}
	})
}

func TestWatchLooksAFewTimesASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.watch(toolstack.WatchConfig{Match: []string{"*"}, Backend: "back"})
		var looks atomic.Int64
		r.host.Xenstored().OnRequest(func(dom xen.DomID, op xenstore.Op, path string) error {
			if op == xenstore.OpDirectory && path == xenbus.BackendsPath(2) {
				looks.Add(1)
			}
			return nil
		})
		for range 1000 {
			r.set("/vm/x/name", "")
			time.Sleep(10 * time.Millisecond)
		}
		if n := looks.Load(); n < 20 || n > 55 {
			t.Errorf("looked %d times in 10 s", n)
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

// A name that two domains have is nobody's: one could be given it to get at the
// other's tags.
func TestWatchGivesNoTagsByANameThatTwoDomainsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.rename(r.other, "guest")
		var asked []toolstack.Domain
		r.watch(toolstack.WatchConfig{Match: []string{"guest"}, Backend: "back", Tags: func(d toolstack.Domain) []string {
			asked = append(asked, d)
			return nil
		}})
		want := []toolstack.Domain{{ID: 1, UUID: r.guest.UUID()}, {ID: 3, UUID: r.other.UUID()}}
		if !slices.Equal(asked, want) {
			t.Errorf("asked for the tags of %v, want %v", asked, want)
		}
	})
}
