package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"xvsock/services"
	"xvsock/services/discovery"
)

func TestServicesPerDomainAreBounded(t *testing.T) {
	d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
	evil, good := domain(5, "evil"), domain(6, "good")
	d.Join(evil)
	d.Join(good)
	refused := 0
	for i := range 10000 {
		if err := d.Register(evil, serving(fmt.Sprint("s", i), 9)); err != nil {
			if !errors.Is(err, services.ErrFull) {
				t.Fatalf("Register = %v", err)
			}
			refused++
		}
	}
	if refused != 10000-services.MaxServices {
		t.Errorf("%d refused", refused)
	}
	if err := d.Register(good, serving("http", 80)); err != nil {
		t.Errorf("another domain: %v", err)
	}
}

// A domain that changes its services without end is slowed down, also if it
// makes its link again and again, and cannot push others out of the history.
func TestChangesPerDomainAreBounded(t *testing.T) {
	for name, again := range map[string]func(*discovery.HostDirectory, discovery.Caller){
		"the link is made again before its end is noticed": func(*discovery.HostDirectory, discovery.Caller) {},
		"the link ends before it is made again": func(d *discovery.HostDirectory, c discovery.Caller) {
			d.Drop(c.Domain, c.Generation)
		},
	} {
		t.Run(name, func(t *testing.T) { testChangesAreBounded(t, again) })
	}
}

func testChangesAreBounded(t *testing.T, again func(*discovery.HostDirectory, discovery.Caller)) {
	synctest.Test(t, func(t *testing.T) {
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
		evil := domain(5, "evil")
		d.Join(evil)
		_, start := d.List(evil, discovery.Filter{})
		done := 0
		for i := range 5000 {
			if i%1000 == 0 {
				again(d, evil)
				evil.Generation++
				d.Join(evil)
			}
			if d.Register(evil, serving("flap", uint32(i+1000))) == nil {
				done++
			}
		}
		if done != 512 {
			t.Errorf("%d changes at once; want the burst of 512", done)
		}
		if err := d.Register(evil, serving("flap", 99)); !errors.Is(err, discovery.ErrLimitReached) {
			t.Errorf("over the burst: %v; want ErrLimitReached", err)
		}
		if _, _, err := d.Next(t.Context(), domain(6, "w"), start); err != nil {
			t.Errorf("a watcher lost its place: %v", err)
		}
		time.Sleep(time.Second)
		if err := d.Register(evil, serving("flap", 99)); err != nil {
			t.Errorf("a second later: %v", err)
		}
	})
}

func TestLinksEndTakesTheServicesAlong(t *testing.T) {
	d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
	first := domain(5, "a")
	d.Join(first)
	d.Register(first, serving("http", 80))
	second := first
	second.Generation = 2
	d.Join(second)
	if list, _ := d.List(first, discovery.Filter{}); len(list) != 0 {
		t.Errorf("a new link kept %+v", list)
	}
	d.Register(second, serving("sql", 5432))
	d.Drop(5, 1) // late news of the first link
	if list, _ := d.List(first, discovery.Filter{}); len(list) != 1 {
		t.Errorf("the end of the old link took the new one's services")
	}
	if err := d.Register(first, serving("ghost", 9)); !errors.Is(err, discovery.ErrNotJoined) {
		t.Errorf("Register over the old link = %v; want ErrNotJoined", err)
	}
	d.Drop(5, 2)
	if err := d.Register(second, serving("ghost", 9)); !errors.Is(err, discovery.ErrNotJoined) {
		t.Errorf("Register after the end = %v; want ErrNotJoined", err)
	}
	if list, _ := d.List(first, discovery.Filter{}); len(list) != 0 {
		t.Errorf("left after the end: %+v", list)
	}
}

func TestJoinRefusesTextThatSteersATerminal(t *testing.T) {
	d := discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})
	for _, name := range []string{"\x1b[2J", "a\nb", "\u202etxt", "\xff"} {
		if err := d.Join(discovery.Caller{Domain: 5, Name: name}); !errors.Is(err, services.ErrName) {
			t.Errorf("Join(%q) = %v; want ErrName", name, err)
		}
	}
}

type key struct {
	domain uint16
	name   string
}

// The directory is compared with a plain map, and with the copy of a watcher
// that follows the changes.
func TestHostDirectoryAgainstModel(t *testing.T) {
	domains := rapid.Uint16Range(1, 3)
	names := rapid.SampledFrom([]string{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		visible := func(_ discovery.Caller, r discovery.Record) bool { return r.Name != "c" }
		d := discovery.NewHostDirectory(discovery.HostConfig{Visible: visible})
		watcher := domain(99, "w")
		joined := make(map[uint16]uint64)
		model, copied := make(map[key]uint32), make(map[key]uint32)
		_, at := d.List(watcher, discovery.Filter{})
		done, cancel := context.WithCancel(context.Background())
		cancel()
		forget := func(id uint16) {
			for k := range model {
				if k.domain == id {
					delete(model, k)
				}
			}
		}
		member := func(id uint16, generation uint64) discovery.Caller {
			c := domain(id, fmt.Sprint("d", id))
			c.Generation = generation
			return c
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				id, generation := domains.Draw(t, "domain"), rapid.Uint64Range(1, 3).Draw(t, "generation")
				if err := d.Join(member(id, generation)); err != nil {
					t.Fatal(err)
				}
				forget(id)
				joined[id] = generation
			},
			"drop": func(t *rapid.T) {
				id, generation := domains.Draw(t, "domain"), rapid.Uint64Range(1, 3).Draw(t, "generation")
				d.Drop(id, generation)
				if joined[id] == generation {
					forget(id)
					delete(joined, id)
				}
			},
			"register": func(t *rapid.T) {
				id, generation := domains.Draw(t, "domain"), rapid.Uint64Range(1, 3).Draw(t, "generation")
				name, port := names.Draw(t, "name"), rapid.Uint32Range(80, 82).Draw(t, "port")
				err := d.Register(member(id, generation), serving(name, port))
				if (err == nil) != (joined[id] == generation) {
					t.Fatalf("Register of %d by link %d = %v; joined by %d", id, generation, err, joined[id])
				}
				if err == nil {
					model[key{id, name}] = port
				}
			},
			"unregister": func(t *rapid.T) {
				id, generation := domains.Draw(t, "domain"), rapid.Uint64Range(1, 3).Draw(t, "generation")
				name := names.Draw(t, "name")
				_, there := model[key{id, name}]
				err := d.Unregister(member(id, generation), name)
				if (err == nil) != (there && joined[id] == generation) {
					t.Fatalf("Unregister = %v", err)
				}
				if err == nil {
					delete(model, key{id, name})
				}
			},
			"follow": func(t *rapid.T) {
				for {
					changes, revision, err := d.Next(done, watcher, at)
					if errors.Is(err, context.Canceled) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range changes {
						k := key{c.Service.DomainID, c.Service.Name}
						if copied[k] = c.Service.Port; c.Kind == discovery.Delete {
							delete(copied, k)
						}
					}
					at = revision
				}
				want := make(map[key]uint32)
				for k, port := range model {
					if k.name != "c" {
						want[k] = port
					}
				}
				if diff := cmp.Diff(want, copied, cmp.AllowUnexported(key{})); diff != "" {
					t.Fatalf("the watcher's copy differs (-model +copy):\n%s", diff)
				}
			},
			"": func(t *rapid.T) {
				got := make(map[key]uint32)
				list, _ := d.List(watcher, discovery.Filter{})
				for _, r := range list {
					got[key{r.DomainID, r.Name}] = r.Port
				}
				want := make(map[key]uint32)
				for k, port := range model {
					if k.name != "c" {
						want[k] = port
					}
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(key{})); diff != "" {
					t.Fatalf("List differs (-model +got):\n%s", diff)
				}
			},
		})
	})
}
