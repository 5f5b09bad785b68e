package toolstack_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenstore"
)

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
