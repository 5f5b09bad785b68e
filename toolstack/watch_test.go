package toolstack_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
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
		if got := r.node(xenbus.BackPath(2, web.ID()) + "/tags"); got != "edge n0 r2" {
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
