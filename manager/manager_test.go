package manager_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/link"
	"xvsock/manager"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// names lists the frontends as "name:up".
func (r *rig) names() string {
	var all []string
	for _, f := range r.manager.Frontends() {
		all = append(all, fmt.Sprintf("%s:%v", f.Name, f.Up))
	}
	return strings.Join(all, " ")
}

// await waits until the manager's picture is want.
func (r *rig) await(want string, within time.Duration) {
	r.t.Helper()
	for stop := time.Now().Add(within); r.names() != want; {
		if time.Now().After(stop) {
			r.t.Fatalf("frontends are %q after %v, want %q", r.names(), within, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// exists reports whether a node is there.
func (r *rig) exists(node string) bool {
	_, err := r.tools.Read(r.t.Context(), node)
	return !errors.Is(err, fs.ErrNotExist)
}

func TestFrontendsComeAndGo(t *testing.T) {
	for name, dom0 := range map[string]bool{"backend in dom0": true, "backend in a domain of its own": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, dom0)
				early := r.create("early")
				ef := r.frontend(early, nil)
				r.await("early:true", 5*time.Second)
				late := r.create("late")
				r.await("early:true late:false", time.Second)
				r.frontend(late, nil)
				r.await("early:true late:true", 5*time.Second)
				who, ok := r.manager.Identify(late.ID())
				if !ok || who.Name != "late" || who.UUID != late.UUID() || len(who.Attachment) != 32 || who.Serial == 0 {
					t.Errorf("identity is %+v, %v", who, ok)
				}
				if err := toolstack.Detach(t.Context(), r.tools, toolstack.Domain{ID: early.ID()}); err != nil {
					t.Error(err)
				}
				r.await("late:true", time.Second)
				if c := cause(t, ef.next(t), time.Second); c != link.Lost {
					t.Errorf("the detached frontend's link ended as %v", c)
				}
				r.attach(early, "again")
				r.await("again:true late:true", 10*time.Second)
				r.mu.Lock()
				defer r.mu.Unlock()
				if len(r.ups) != 3 || len(r.down) != 1 || !reflect.DeepEqual(r.down[0], r.ups[0]) {
					t.Errorf("up was told of %v, down of %v", r.ups, r.down)
				}
			})
		})
	}
}

func TestAttachingAgainRenewsTheIdentity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		dom := r.create("web")
		f := r.frontend(dom, nil)
		r.await("web:true", 5*time.Second)
		first := f.next(t)
		before, _ := r.manager.Identify(dom.ID())
		r.attach(dom, "web")
		time.Sleep(time.Second)
		after, _ := r.manager.Identify(dom.ID())
		if after.Attachment == before.Attachment || after.Serial != before.Serial || first.Err() != nil {
			t.Errorf("identity was %+v, is %+v; link: %v", before, after, first.Err())
		}
		r.attach(dom, "renamed")
		if c := cause(t, first, 2*time.Second); c != link.Lost {
			t.Errorf("link of the old name ended as %v", c)
		}
		r.await("renamed:true", 5*time.Second)
		r.mu.Lock()
		defer r.mu.Unlock()
		if last := r.ups[len(r.ups)-1]; last.Name != "renamed" {
			t.Errorf("the new link came up as %+v", last)
		}
	})
}

func TestNodesOfADestroyedDomainAreRemoved(t *testing.T) {
	for name, dom0 := range map[string]bool{"backend in dom0": true, "backend in a domain of its own": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, dom0)
				gone, stays := r.create("gone"), r.create("stays")
				r.frontend(gone, nil)
				r.frontend(stays, nil)
				r.await("gone:true stays:true", 5*time.Second)
				gone.Destroy()
				r.await("stays:true", 2*time.Second)
				time.Sleep(time.Second)
				if dir := path.Dir(xenbus.BackPath(r.back.ID(), gone.ID())); r.exists(dir) {
					t.Errorf("%s is left", dir)
				}
				if !r.exists(xenbus.BackPath(r.back.ID(), stays.ID()) + "/attachment") {
					t.Error("the neighbour's nodes are gone too")
				}
				if n := r.back.Granted(); n != 1 {
					t.Errorf("backend has granted %d pages, want the neighbour's 1", n)
				}
			})
		})
	}
}

// A backend that ran while nobody was there to clean up finds the nodes at its
// next start.
func TestNodesOfADomainThatDiedWithoutABackendAreRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		dom := r.create("gone")
		r.await("gone:false", time.Second)
		r.kill()
		r.process = nil
		dom.Destroy()
		dir := path.Dir(xenbus.BackPath(0, dom.ID()))
		if !r.exists(dir) {
			t.Fatal("there is nothing to clean up")
		}
		r.startManager()
		time.Sleep(2 * time.Second)
		if r.exists(dir) {
			t.Errorf("%s is left", dir)
		}
	})
}

// The news that a frontend is gone may be old: what the toolstack has made since
// stays.
func TestADeviceThatWasMadeAgainIsNotRemoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		dom := r.create("web")
		r.frontend(dom, nil)
		r.await("web:true", 5*time.Second)
		// Once the backend has seen that the frontend's half is gone, its next
		// request is the one in which it cleans up.
		var gone, again atomic.Bool
		r.host.Xenstored().OnRequest(func(by xen.DomID, op xenstore.Op, node string) error {
			if op == xenstore.OpRemove && node == xenbus.FrontPath(dom.ID()) {
				gone.Store(true)
			}
			if by != 0 || !gone.Load() {
				return nil
			}
			if op == xenstore.OpTransactionStart && again.CompareAndSwap(false, true) {
				r.attach(dom, "web")
			}
			return nil
		})
		if err := r.tools.Remove(t.Context(), xenbus.FrontPath(dom.ID())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		r.host.Xenstored().OnRequest(nil)
		if !again.Load() {
			t.Fatal("the backend has not cleaned up")
		}
		if !r.exists(xenbus.BackPath(0, dom.ID()) + "/attachment") {
			t.Error("the new device was removed")
		}
		r.await("web:true", 10*time.Second)
	})
}

func TestFrontendsFormAgainAfterTheBackendWasKilled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		for _, name := range []string{"a", "b", "c"} {
			r.frontend(r.create(name), nil)
		}
		r.await("a:true b:true c:true", 5*time.Second)
		r.kill()
		time.Sleep(30 * time.Second)
		r.startManager()
		r.await("a:true b:true c:true", 5*time.Second)
	})
}

func TestABackendOutsideDom0ServesALimitedNumber(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, false)
		const limit = 100
		var doms []*sim.Domain
		for i := range limit + 2 {
			doms = append(doms, r.create(fmt.Sprintf("d%d", i)))
		}
		time.Sleep(2 * time.Second)
		if n := len(r.manager.Frontends()); n != limit {
			t.Fatalf("backend serves %d frontends, want %d", n, limit)
		}
		if n := r.log.count("no more frontends: a backend outside domain 0 has watches for no more (xenstored quota)"); n != 1 {
			t.Errorf("the refusal was logged %d times", n)
		}
		if n := r.host.Xenstored().Usage(r.back.ID()).Watches; n > 128 {
			t.Errorf("backend has %d watches", n)
		}
		served, refused := make(map[xen.DomID]bool), 0
		for _, f := range r.manager.Frontends() {
			served[f.Domain] = true
		}
		for _, d := range doms {
			if !served[d.ID()] {
				refused++
			}
		}
		// One leaves, one of those that wait is served.
		doms[0].Destroy()
		time.Sleep(2 * time.Second)
		if n := len(r.manager.Frontends()); n != limit || refused != 2 {
			t.Errorf("backend serves %d frontends after one has left; %d were refused", n, refused)
		}
	})
}

// Rule R15 and hostile behaviour 16.
func TestAStormInOnesOwnNodesCostsNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		evil, honest := r.create("evil"), r.create("honest")
		f := r.frontend(honest, nil)
		r.await("evil:false honest:true", 5*time.Second)
		l := f.next(t)
		var requests atomic.Int32
		r.host.Xenstored().OnRequest(func(by xen.DomID, _ xenstore.Op, _ string) error {
			if by == 0 {
				requests.Add(1)
			}
			return nil
		})
		store := evil.NewProcess().Xenstore()
		defer store.Close()
		const seconds, rate = 20, 500
		dir := xenbus.FrontPath(evil.ID())
		for i := range seconds * rate {
			node, value := dir+"/state", fmt.Sprint(1+i%6)
			if i%3 == 0 {
				node, value = fmt.Sprintf("%s/junk-%d", dir, i%50), strings.Repeat("x", 1000)
			}
			if err := store.Write(t.Context(), node, value); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second / rate)
		}
		r.host.Xenstored().OnRequest(nil)
		// 20 looks a second at the state, 10 scans of a few reads for two
		// devices, and the attempts to form a link.
		t.Logf("%d writes in %d s cost the backend %d requests", seconds*rate, seconds, requests.Load())
		if limit := int32(seconds * 120); requests.Load() > limit {
			t.Errorf("more than %d", limit)
		}
		if l.Err() != nil {
			t.Errorf("the neighbour's link has ended: %v", l.Err())
		}
		begin := time.Now()
		r.frontend(r.create("next"), nil)
		r.await("evil:false honest:true next:true", 5*time.Second)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the next frontend was served after %v", took)
		}
	})
}

func TestABadDeviceIsNoReasonToLeaveTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.frontend(r.create("good"), nil)
		r.await("good:true", 5*time.Second)
		for _, junk := range []string{"/x/0/online", "/99999/0/online", "/0007/0/online", "/31/0/online"} {
			if err := r.tools.Write(t.Context(), xenbus.BackendsPath(0)+junk, "1"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if r.names() != "good:true" {
			t.Errorf("frontends are %q", r.names())
		}
	})
}

func TestRunEndsWithXenstore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		f := r.frontend(r.create("web"), nil)
		r.await("web:true", 5*time.Second)
		r.host.Xenstored().Disconnect(0)
		if err := <-r.done; !errors.Is(err, xenstore.ErrLost) {
			t.Errorf("Run returned %v, want %v", err, xenstore.ErrLost)
		}
		r.stack.Close()
		r.store.Close()
		r.process = nil
		cause(t, f.next(t), 2*time.Second)
		r.tools.Close()
	})
}

func TestIdentifyOfAStranger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		if who, ok := r.manager.Identify(77); ok || !reflect.DeepEqual(who, manager.Identity{}) {
			t.Errorf("a domain that is not attached is %+v", who)
		}
		synctest.Wait()
	})
}
