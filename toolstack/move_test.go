package toolstack_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// move moves all frontends to back.
func (r *rig) move(back *sim.Domain, tags func(toolstack.Domain) []string) ([]xen.DomID, error) {
	moved, err := toolstack.Move(r.t.Context(), r.tools, domain(back), tags)
	var ids []xen.DomID
	for _, d := range moved {
		ids = append(ids, d.ID)
	}
	return ids, err
}

func TestMoveTakesEveryFrontendFromWhereItIs(t *testing.T) {
	r := newRig(t)
	web, db := r.host.Create(sim.DomainConfig{Name: "web"}), r.host.Create(sim.DomainConfig{Name: "db"})
	for d, back := range map[*sim.Domain]*sim.Domain{r.guest: r.back, web: r.dom0, db: r.other, r.other: r.back} {
		if err := toolstack.Attach(t.Context(), r.tools, domain(d), domain(back), nil); err != nil {
			t.Fatal(err)
		}
	}
	stays := r.node(xenbus.BackPath(3, db.ID()) + "/attachment")
	moved, err := r.move(r.other, nil)
	if err != nil || !slices.Equal(moved, []xen.DomID{1, web.ID()}) {
		t.Errorf("Move returned %v, %v", moved, err)
	}
	r.expect("after Move", map[*sim.Domain]int{r.guest: 3, web: 3, db: 3, r.back: -1})
	if r.node(xenbus.BackPath(3, db.ID())+"/attachment") != stays {
		t.Error("a domain that was there already was attached again")
	}
	for _, node := range []string{"/local/domain/2/backend/xvsock/1", "/local/domain/0/backend/xvsock/4"} {
		if got := r.node(node); got != "(none)" {
			t.Errorf("%s is left behind: %s", node, got)
		}
	}
	// The new backend was the old one's frontend; it is not its own.
	if got := r.node(xenbus.BackPath(3, 3)); got != "(none)" {
		t.Errorf("the backend is its own frontend: %s", got)
	}
	if moved, err = r.move(r.other, nil); len(moved) > 0 || err != nil {
		t.Errorf("a second Move returned %v, %v", moved, err)
	}
}

func TestMoveKeepsTags(t *testing.T) {
	table := func(d toolstack.Domain) []string { return []string{"table-" + d.Name} }
	empty := func(toolstack.Domain) []string { return nil }
	for name, c := range map[string]struct {
		table  func(toolstack.Domain) []string
		change func(*rig)
		want   string
	}{
		"from a backend that runs":            {empty, func(*rig) {}, "by-hand 2nd"},
		"that the table knows better":         {table, func(*rig) {}, "table-guest"},
		"from a backend that is gone":         {empty, func(r *rig) { r.back.Destroy() }, ""},
		"by the table, from one that is gone": {table, func(r *rig) { r.back.Destroy() }, "table-guest"},
		"but none that are none":              {empty, func(r *rig) { r.set(xenbus.BackPath(2, 1)+"/tags", "ok @admin") }, ""},
		"but not too many":                    {empty, func(r *rig) { r.set(xenbus.BackPath(2, 1)+"/tags", strings.Repeat("a ", 17)) }, ""},
		"but not of an earlier domain's":      {empty, func(r *rig) { r.set(xenbus.BackPath(2, 1)+"/uuid", "00000000-0000-4000-8000-00000000dead") }, ""},
		"by the table, with a twin of its name": {table, func(r *rig) {
			r.back.Destroy()
			r.host.Create(sim.DomainConfig{Name: "guest"})
		}, "table-"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.attach(r.back, "by-hand", "2nd")
			c.change(r)
			moved, err := r.move(r.other, c.table)
			if err != nil || len(moved) != 1 {
				t.Errorf("Move returned %v, %v", moved, err)
			}
			if got := r.node(xenbus.BackPath(3, 1) + "/tags"); got != strings.TrimSpace(c.want+" n0 r3") {
				t.Errorf("tags are %q, want %q", got, c.want)
			}
		})
	}
}

func TestMoveGoesOnAfterADomainThatFails(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC} {
		r := newRig(t)
		var all []xen.DomID
		for i := range 70 { // more than two steps
			d := r.host.Create(sim.DomainConfig{Name: fmt.Sprintf("many-%d", i)})
			if err := toolstack.Attach(t.Context(), r.tools, domain(d), domain(r.dom0), nil); err != nil {
				t.Fatal(err)
			}
			all = append(all, d.ID())
		}
		bad := []xen.DomID{all[3], all[40]}
		r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, path string) error {
			for _, id := range bad {
				if op == xenstore.OpWrite && path == xenbus.FrontPath(id)+"/backend" {
					return fault
				}
			}
			return nil
		})
		moved, err := r.move(r.back, nil)
		want := slices.DeleteFunc(slices.Clone(all), func(id xen.DomID) bool { return slices.Contains(bad, id) })
		if !slices.Equal(moved, want) {
			t.Errorf("moved %v, want %v", moved, want)
		}
		if !errors.Is(err, fault) || strings.Count(err.Error(), "attach many-") != len(bad) {
			t.Errorf("Move returned %v, want the errors of %v", err, bad)
		}
		for _, id := range bad {
			if r.node(xenbus.BackPath(0, id)+"/online") == "(none)" {
				t.Errorf("domain %v has lost the backend that it had", id)
			}
		}
	}
}

func TestMoveOfHundredsIsFast(t *testing.T) {
	r := newRig(t)
	for i := range 300 {
		r.host.Create(sim.DomainConfig{Name: fmt.Sprintf("many-%d", i)})
	}
	all, err := toolstack.List(t.Context(), r.tools)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all[4:] { // the device without a backend: that one is gone
		r.set(xenbus.FrontPath(d.ID)+"/backend-id", "999")
	}
	n := r.requests()
	begin := time.Now()
	moved, err := r.move(r.back, nil)
	if err != nil || len(moved) != 300 {
		t.Errorf("Move returned %d, %v", len(moved), err)
	}
	if perDomain := n.Load() / 300; perDomain > 80 {
		t.Errorf("%d requests a domain, in %v", perDomain, time.Since(begin))
	}
}

func TestMoveToADomainThatIsGone(t *testing.T) {
	r := newRig(t)
	r.attach(r.back)
	gone := domain(r.other)
	r.other.Destroy()
	moved, err := toolstack.Move(t.Context(), r.tools, gone, nil)
	if !errors.Is(err, toolstack.ErrNoDomain) || len(moved) > 0 {
		t.Errorf("Move returned %v, %v", moved, err)
	}
	r.expect("after it", map[*sim.Domain]int{r.guest: 2})
}
