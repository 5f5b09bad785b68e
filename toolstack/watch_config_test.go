package toolstack_test

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// told is a table of what domains are told, by name.
func told(byName map[string]config) func(toolstack.Domain) map[string][]string {
	return func(d toolstack.Domain) map[string][]string { return byName[d.Name] }
}

func TestWatchTellsEachDomainBeforeItIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var mu sync.Mutex
		var order []string
		r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case op == xenstore.OpWrite && strings.HasSuffix(path, "/config/log"):
				order = append(order, "told")
			case op == xenstore.OpWrite && strings.HasSuffix(path, "/attachment"):
				order = append(order, "attached")
			}
			return nil
		})
		w := r.watch(toolstack.WatchConfig{
			Match: []string{"guest", "web"}, Backend: "back",
			Config: told(map[string]config{"guest": {"log": {"debug"}}, "web": {"log": {"warn"}}, "back": {"mode": {"backend"}}}),
		})
		time.Sleep(time.Hour)
		web := r.host.Create(sim.DomainConfig{Name: "web"})
		time.Sleep(300 * time.Millisecond)
		mu.Lock()
		done := slices.Clone(order)
		mu.Unlock()
		if want := []string{"told", "attached", "told", "attached"}; !slices.Equal(done, want) {
			t.Errorf("done in the order %q, want %q", done, want)
		}
		for id, want := range map[xen.DomID]config{
			r.guest.ID(): {"log": {"debug"}}, web.ID(): {"log": {"warn"}},
			r.back.ID():  {"mode": {"backend"}}, // also who is not to be attached
			r.other.ID(): {},
		} {
			if diff := cmp.Diff(want, r.config(id)); diff != "" {
				t.Errorf("domain %v is told (-want +got):\n%s", id, diff)
			}
		}
		if n := len(w.lines("msg=configured")); n != 3 {
			t.Errorf("it is logged %d times, want 3", n)
		}
	})
}

func TestWatchTellsWhatTheTableSaysAndNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		was, table, want config
		write            bool
	}{
		"the same":                  {config{"service": {"a", "b"}}, config{"service": {"a", "b"}}, config{"service": {"a", "b"}}, false},
		"the same but for an empty": {config{"log": {"x"}}, config{"log": {"x"}, "module": {}}, config{"log": {"x"}}, false},
		"another":                   {config{"log": {"x"}}, config{"log": {"y"}}, config{"log": {"y"}}, true},
		"another order":             {config{"service": {"a", "b"}}, config{"service": {"b", "a"}}, config{"service": {"b", "a"}}, true},
		"one key less":              {config{"log": {"x"}, "name": {"n"}}, config{"log": {"x"}}, config{"log": {"x"}}, true},
		"nothing any more":          {config{"log": {"x"}}, config{}, config{}, true},
		"no word of it":             {config{"log": {"x"}}, nil, config{"log": {"x"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.setConfig(c.was)
				w := r.watch(toolstack.WatchConfig{
					Match: []string{"nobody"}, Backend: "nowhere", Config: told(map[string]config{"guest": c.table}),
				})
				time.Sleep(time.Minute)
				if diff := cmp.Diff(c.want, r.config(1)); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
				if wrote := len(w.lines("msg=configured")); wrote > 1 || (wrote == 1) != c.write {
					t.Errorf("written %d times, want %v", wrote, c.write)
				}
			})
		})
	}
}

func TestWatchTriesAgainToTellADomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var broken atomic.Bool
		broken.Store(true)
		r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
			if broken.Load() && op == xenstore.OpMkdir && path == toolstack.ConfigPath(1) {
				return syscall.EIO
			}
			return nil
		})
		w := r.watch(toolstack.WatchConfig{
			Match: []string{"*"}, Backend: "back",
			Config: told(map[string]config{"guest": {"log": {"debug"}}, "other": {"log": {"warn"}}}),
		})
		for range 600 {
			time.Sleep(time.Second)
			r.set("/vm/"+r.other.UUID()+"/name", "other") // an event
		}
		r.expect("although it could not be told", map[*sim.Domain]int{r.guest: 2, r.other: 2})
		if n := len(w.lines("cannot configure")); n < 5 || n > 20 {
			t.Errorf("it was tried %d times in 10 minutes", n)
		}
		broken.Store(false)
		time.Sleep(2 * time.Minute)
		if got := r.config(1); !cmp.Equal(got, config{"log": {"debug"}}) {
			t.Errorf("in the end it is told %v", got)
		}
		n := r.requests()
		time.Sleep(time.Hour)
		if n.Load() > 0 {
			t.Errorf("%d requests in an hour without an event", n.Load())
		}
	})
}

func TestWatchTellsANewDomainThatHasTheIDOfOneInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var broken atomic.Bool
		broken.Store(true)
		r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
			if broken.Load() && op == xenstore.OpMkdir && path == toolstack.ConfigPath(1) {
				return syscall.EIO
			}
			return nil
		})
		r.watch(toolstack.WatchConfig{Match: []string{"*"}, Backend: "back", Config: told(map[string]config{"guest": {"log": {"debug"}}})})
		time.Sleep(10 * time.Minute)
		broken.Store(false)
		r.guest.Destroy()
		time.Sleep(500 * time.Millisecond)
		r.host.Create(sim.DomainConfig{Name: "guest", ID: 1})
		time.Sleep(500 * time.Millisecond)
		if got := r.config(1); !cmp.Equal(got, config{"log": {"debug"}}) {
			t.Errorf("it is told %v", got)
		}
	})
}

// What the name says is for one domain, not for whoever takes its name.
func TestWatchTellsNothingByANameThatTwoDomainsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.rename(r.other, "guest")
		r.watch(toolstack.WatchConfig{Match: []string{"guest"}, Backend: "back", Config: told(map[string]config{"guest": {"log": {"debug"}}})})
		time.Sleep(time.Minute)
		if got := r.config(1); len(got) > 0 {
			t.Errorf("told %v", got)
		}
		if r.node(xenbus.FrontPath(1)) == "(none)" {
			t.Error("it was not attached")
		}
	})
}
