package toolstack_test

import (
	"fmt"
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
		if got := r.node(xenbus.BackPath(2, 50) + "/name"); got != "bare n0 r2 r50" {
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
