package manager_test

import (
	"fmt"
	"path"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/sim"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// looks is whose devices a manager in dom0 has looked at.
type looks struct {
	mu   sync.Mutex
	ids  map[xen.DomID]int
	fail xen.DomID // of whom nothing can be read; 0: nobody
}

// watchLooks counts looks at the devices of these domains from now on.
func (r *rig) watchLooks(doms []*sim.Domain) *looks {
	l := &looks{ids: make(map[xen.DomID]int)}
	r.host.Xenstored().OnRequest(func(by xen.DomID, op xenstore.Op, node string) error {
		if by != 0 || op != xenstore.OpRead || path.Base(node) != "attachment" {
			return nil
		}
		for _, d := range doms {
			if node == xenbus.BackPath(0, d.ID())+"/attachment" {
				return l.note(d.ID())
			}
		}
		return nil
	})
	r.t.Cleanup(func() { r.host.Xenstored().OnRequest(nil) })
	return l
}

func (l *looks) note(id xen.DomID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids[id]++
	if id == l.fail {
		return syscall.EIO
	}
	return nil
}

// take returns whose devices were looked at since the last call, and the most looks at
// one of them.
func (l *looks) take() (ids []xen.DomID, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, n := range l.ids {
		ids, most = append(ids, id), max(most, n)
	}
	clear(l.ids)
	slices.Sort(ids)
	return ids, most
}

// touch writes a node of the backend's half that means nothing.
func (r *rig) touch(d *sim.Domain) {
	r.t.Helper()
	if err := r.tools.Write(r.t.Context(), xenbus.BackPath(0, d.ID())+"/note", "x"); err != nil {
		r.t.Error(err)
	}
}

// touchAll sets the permissions of the directory of all devices, as each attach does.
func (r *rig) touchAll() {
	r.t.Helper()
	err := r.tools.SetPermissions(r.t.Context(), xenbus.BackendsPath(0), xenstore.Permission{Domain: 0})
	if err != nil {
		r.t.Error(err)
	}
}

// The other frontends cost nothing when something happens to one of them.
func TestOnlyTheDevicesThatChangedAreLookedAt(t *testing.T) {
	const others = 20
	for _, c := range []struct {
		name string
		do   func(r *rig, d *sim.Domain, l *looks)
		most int // looks at the one within 10 s
	}{
		{"a write to a device", func(r *rig, d *sim.Domain, _ *looks) { r.touch(d) }, 1},
		{"a write to a device, and the permissions of the directory", func(r *rig, d *sim.Domain, _ *looks) {
			r.touchAll()
			r.touch(d)
		}, 2},
		{"a frontend that forms its link", func(r *rig, d *sim.Domain, _ *looks) { r.frontend(d, nil) }, 10},
		{"a device that cannot be read", func(r *rig, d *sim.Domain, l *looks) {
			l.mu.Lock()
			l.fail = d.ID()
			l.mu.Unlock()
			r.touch(d)
		}, 101},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				var doms []*sim.Domain
				for i := range others + 1 {
					doms = append(doms, r.create(fmt.Sprint("d", i)))
				}
				time.Sleep(time.Second)
				l := r.watchLooks(doms)
				one := doms[others/2]
				c.do(r, one, l)
				time.Sleep(10 * time.Second)
				if ids, most := l.take(); !slices.Equal(ids, []xen.DomID{one.ID()}) || most > c.most {
					t.Errorf("it looked at %v, up to %d times; want only %v, at most %d times", ids, most, one.ID(), c.most)
				}
			})
		})
	}
}

// A device that can be read again is served.
func TestADeviceThatCouldNotBeReadIsLookedAtAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		dom := r.host.Create(sim.DomainConfig{Name: "web"})
		l := r.watchLooks([]*sim.Domain{dom})
		l.fail = dom.ID()
		r.attach(dom, "web")
		time.Sleep(time.Minute)
		if n := len(r.manager.Frontends()); n != 0 {
			t.Fatalf("%d frontends", n)
		}
		l.mu.Lock()
		l.fail = 0
		l.mu.Unlock()
		r.await("web:false", time.Second)
	})
}

// Domains that leave together are all found gone before any of them is dismissed, even if
// the news of the second comes while the first is looked at.
func TestDomainsThatLeaveTogetherAreFoundGoneTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b := r.create("a"), r.create("b")
		r.create("c")
		time.Sleep(time.Second)
		leave := func(d *sim.Domain) {
			if err := r.tools.Remove(t.Context(), path.Dir(xenbus.BackPath(0, d.ID()))); err != nil {
				t.Error(err)
			}
		}
		second := sync.OnceFunc(func() { leave(b) })
		r.host.Xenstored().OnRequest(func(by xen.DomID, op xenstore.Op, node string) error {
			if by == 0 && op == xenstore.OpRead && node == xenbus.BackPath(0, a.ID())+"/attachment" {
				second()
			}
			return nil
		})
		defer r.host.Xenstored().OnRequest(nil)
		leave(a)
		var seen []int // how many domains there are, each millisecond
		for range 1000 {
			time.Sleep(time.Millisecond)
			seen = append(seen, len(r.manager.Domains()))
		}
		if seen = slices.Compact(seen); !slices.Equal(seen, []int{4, 2}) && !slices.Equal(seen, []int{2}) {
			t.Errorf("the domains were %v, want 2 less at once", seen)
		}
	})
}

// So are those of which there is nothing left, not even the directory that they were in.
func TestDevicesThatGoWithTheirDirectoryAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		r.create("a")
		r.create("b")
		r.await("a:false b:false", time.Second)
		if err := r.tools.Remove(t.Context(), xenbus.BackendsPath(0)); err != nil {
			t.Fatal(err)
		}
		r.await("", time.Second)
		r.create("c")
		r.await("c:false", time.Second)
	})
}
