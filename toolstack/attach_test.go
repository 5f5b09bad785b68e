package toolstack_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xen"
	"xvsock/xenbus"
	"xvsock/xenstore"
)

// Every node of the device, with its value, owner and readers: the guest is
// domain 1, its backend domain 2.
func TestAttachWritesTheseNodesAndNoOthers(t *testing.T) {
	r := newRig(t)
	r.attach(r.back, "web", "edge-1")
	want := map[string]string{
		"/local/domain/1/device/xvsock":              "n1 r2",
		"/local/domain/1/device/xvsock/0":            "n1 r2",
		"/local/domain/1/device/xvsock/0/backend":    "/local/domain/2/backend/xvsock/1/0 n1 r2",
		"/local/domain/1/device/xvsock/0/backend-id": "2 n1 r2",
		"/local/domain/1/device/xvsock/0/state":      "1 n1 r2",

		"/local/domain/2/backend/xvsock":                 "n2",
		"/local/domain/2/backend/xvsock/1":               "n2 r1",
		"/local/domain/2/backend/xvsock/1/0":             "n2 r1",
		"/local/domain/2/backend/xvsock/1/0/frontend":    "/local/domain/1/device/xvsock/0 n0 r2 r1",
		"/local/domain/2/backend/xvsock/1/0/frontend-id": "1 n0 r2 r1",
		"/local/domain/2/backend/xvsock/1/0/name":        "guest n0 r2 r1",
		"/local/domain/2/backend/xvsock/1/0/uuid":        r.guest.UUID() + " n0 r2 r1",
		"/local/domain/2/backend/xvsock/1/0/attachment":  "(random) n0 r2 r1",
		"/local/domain/2/backend/xvsock/1/0/tags":        "web edge-1 n0 r2",
		"/local/domain/2/backend/xvsock/1/0/online":      "1 n0 r2 r1",
		"/local/domain/2/backend/xvsock/1/0/state":       "1 n2 r1",
	}
	got := make(map[string]string)
	for _, name := range r.tree() {
		got[name] = r.node(name)
	}
	const attachment = "/local/domain/2/backend/xvsock/1/0/attachment"
	if !regexp.MustCompile(`^[0-9a-f]{32} n0 r2 r1$`).MatchString(got[attachment]) {
		t.Errorf("attachment is %q, want 128 bits in hexadecimal", got[attachment])
	}
	got[attachment] = want[attachment]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func TestEachDomainCanDoWhatItShouldAndNothingElse(t *testing.T) {
	r := newRig(t)
	r.attach(r.back, "secret")
	front, back := xenbus.FrontPath(r.guest.ID()), xenbus.BackPath(r.back.ID(), r.guest.ID())
	guest, backend, other := r.store(r.guest), r.store(r.back), r.store(r.other)
	for _, c := range []struct {
		who         string
		store       *xenstore.Client
		node        string
		read, write bool
	}{
		{"the guest", guest, front + "/state", true, true},
		{"the guest", guest, front + "/header-ref", true, true},
		{"the guest", guest, back + "/state", true, false},
		{"the guest", guest, back + "/name", true, false},
		{"the guest", guest, back + "/uuid", true, false},
		{"the guest", guest, back + "/attachment", true, false},
		{"the guest", guest, back + "/online", true, false},
		{"the guest", guest, back + "/tags", false, false},
		{"the guest", guest, back + "/new", false, false},
		{"the backend", backend, front + "/state", true, false},
		{"the backend", backend, front + "/new", false, false},
		{"the backend", backend, back + "/state", true, true},
		{"the backend", backend, back + "/header-ref", true, true},
		{"the backend", backend, back + "/frontend", true, false},
		{"the backend", backend, back + "/frontend-id", true, false},
		{"the backend", backend, back + "/name", true, false},
		{"the backend", backend, back + "/uuid", true, false},
		{"the backend", backend, back + "/attachment", true, false},
		{"the backend", backend, back + "/tags", true, false},
		{"the backend", backend, back + "/online", true, false},
		{"another guest", other, front + "/state", false, false},
		{"another guest", other, front + "/backend-id", false, false},
		{"another guest", other, back + "/state", false, false},
		{"another guest", other, back + "/name", false, false},
		{"another guest", other, back + "/tags", false, false},
	} {
		// Written first, so that a node which is made is there to be read.
		err := c.store.Write(t.Context(), c.node, "1")
		if allowed := err == nil; allowed != c.write {
			t.Errorf("%s writes %s: %v, want %v", c.who, c.node, err, c.write)
		}
		_, err = c.store.Read(t.Context(), c.node)
		if allowed := err == nil; allowed != c.read {
			t.Errorf("%s reads %s: %v, want %v", c.who, c.node, err, c.read)
		}
	}
	for _, dir := range []string{front, back, xenbus.BackendsPath(r.back.ID())} {
		if names, err := other.List(t.Context(), dir); err == nil {
			t.Errorf("another guest lists %s: %v", dir, names)
		}
		if err := other.Remove(t.Context(), dir); err == nil {
			t.Errorf("another guest removes %s", dir)
		}
	}
	if names, err := guest.List(t.Context(), xenbus.BackendsPath(r.back.ID())); err == nil {
		t.Errorf("the guest lists its neighbours: %v", names)
	}
	if err := guest.Remove(t.Context(), back); err == nil {
		t.Error("the guest removes its backend's half")
	}
	if err := backend.Remove(t.Context(), back+"/name"); err == nil {
		t.Error("the backend removes its frontend's name")
	}
}

// The levels are the backend's own, and it need not own what is below them.
func TestTheBackendRemovesAFrontendThatIsGone(t *testing.T) {
	r := newRig(t)
	r.attach(r.back, "tag")
	store := r.store(r.back)
	if err := store.Write(t.Context(), xenbus.BackPath(2, 1)+"/header-ref", "9"); err != nil {
		t.Fatal(err)
	}
	r.guest.Destroy()
	if err := store.Remove(t.Context(), path.Dir(xenbus.BackPath(2, 1))); err != nil {
		t.Error(err)
	}
	if left := r.tree(); !slices.Equal(left, []string{xenbus.BackendsPath(2)}) {
		t.Errorf("left: %v", left)
	}
}

// What the toolstack writes is not to fill the quota of a backend's domain, which
// is 1000 nodes by default.
func TestADomUServesAHundredFrontendsWithinItsQuota(t *testing.T) {
	r := newRig(t)
	const most = 100
	store := r.store(r.back)
	for i := range most {
		r.guest = r.host.Create(sim.DomainConfig{Name: fmt.Sprintf("web-%d", i)})
		r.attach(r.back, "tag")
		dir := xenbus.BackPath(r.back.ID(), r.guest.ID())
		err := store.Transaction(t.Context(), func(tx *xenstore.Tx) error {
			_, err := tx.Read(t.Context(), dir+"/online")
			for _, n := range []string{"/versions", "/header-ref", "/state"} {
				err = errors.Join(err, tx.Write(t.Context(), dir+n, "4"))
			}
			return err
		})
		if err != nil {
			t.Fatalf("frontend %d, with %d nodes: %v", i, r.host.Xenstored().Usage(r.back.ID()).Nodes, err)
		}
	}
	// .../xvsock/F, .../xvsock/F/0 and the three nodes of each; and what there was.
	if n := r.host.Xenstored().Usage(r.back.ID()).Nodes; n > 5*most+100 {
		t.Errorf("the backend owns %d nodes", n)
	}
}

func TestAttachTwiceIsANewAttachmentOfTheSameDevice(t *testing.T) {
	r := newRig(t)
	r.attach(r.back)
	front, back := xenbus.FrontPath(1), xenbus.BackPath(2, 1)
	for _, node := range []string{front + "/state", back + "/state"} {
		if err := r.tools.Write(t.Context(), node, "4"); err != nil {
			t.Fatal(err)
		}
	}
	first := r.node(back + "/attachment")
	r.attach(r.back, "late")
	if r.node(back+"/attachment") == first {
		t.Error("the attachment is the same")
	}
	for node, want := range map[string]string{
		front + "/state": "4 n1 r2", back + "/state": "4 n2 r1", back + "/tags": "late n0 r2", back + "/online": "1 n0 r2 r1",
	} {
		if got := r.node(node); got != want {
			t.Errorf("%s is %q, want %q", node, got, want)
		}
	}
}

// What a moved frontend said to the backend before is not for the new one.
func TestAttachToAnotherBackendMovesTheDevice(t *testing.T) {
	r := newRig(t)
	r.attach(r.back)
	front := xenbus.FrontPath(1)
	guest := r.store(r.guest)
	for node, value := range map[string]string{"state": "3", "header-ref": "9"} {
		if err := guest.Write(t.Context(), front+"/"+node, value); err != nil {
			t.Fatal(err)
		}
	}
	r.attach(r.dom0)
	for node, want := range map[string]string{
		front + "/backend-id":               "0 n1 r0",
		front + "/state":                    "1 n1 r0",
		front + "/header-ref":               "(none)",
		xenbus.BackPath(0, 1) + "/state":    "1 n0 r1",
		xenbus.BackPath(0, 1) + "/tags":     "n0",
		xenbus.BackPath(2, 1):               "(none)",
		"/local/domain/2/backend/xvsock/1":  "(none)",
		"/local/domain/0/backend/xvsock/1":  "n0 r1",
		xenbus.BackPath(0, 1) + "/frontend": front + " n0 r1",
	} {
		if got := r.node(node); got != want {
			t.Errorf("%s is %q, want %q", node, got, want)
		}
	}
}

// A frontend owns the node that names its backend.
func TestAFrontendCannotKeepItsBackendByALie(t *testing.T) {
	for _, lie := range []string{"3", "1", "0", "-1", "../3", strings.Repeat("9", 1000), ""} {
		for name, act := range map[string]func(*rig) error{
			"when it is moved": func(r *rig) error {
				return toolstack.Attach(t.Context(), r.tools, domain(r.guest), domain(r.dom0), nil)
			},
			"when it is detached": func(r *rig) error { return toolstack.Detach(t.Context(), r.tools, domain(r.guest)) },
		} {
			r := newRig(t)
			r.attach(r.back)
			if err := r.store(r.guest).Write(t.Context(), xenbus.FrontPath(1)+"/backend-id", lie); err != nil {
				t.Fatal(err)
			}
			if err := act(r); err != nil {
				t.Errorf("backend-id %.8q, %s: %v", lie, name, err)
			}
			if got := r.node("/local/domain/2/backend/xvsock/1"); got != "(none)" {
				t.Errorf("backend-id %.8q, %s: the old backend still has it", lie, name)
			}
		}
	}
}

// A backend that was not there to clean up after an earlier domain leaves nodes
// behind, whose id may come again.
func TestAttachStartsAnewWhereAnotherDomainsNodesAreLeft(t *testing.T) {
	r := newRig(t)
	r.attach(r.back)
	back := xenbus.BackPath(2, 1)
	for node, value := range map[string]string{"state": "4", "header-ref": "8", "online": "0"} {
		if err := r.tools.Write(t.Context(), back+"/"+node, value); err != nil {
			t.Fatal(err)
		}
	}
	r.guest.Destroy()
	r.guest = r.host.Create(sim.DomainConfig{Name: "next", ID: 1})
	r.attach(r.back)
	for node, want := range map[string]string{
		"/state": "1 n2 r1", "/online": "1 n0 r2 r1", "/name": "next n0 r2 r1", "/header-ref": "(none)",
	} {
		if got := r.node(back + node); got != want {
			t.Errorf("%s is %q, want %q", node, got, want)
		}
	}
}

func TestAttachMakesNoNodesForADomainThatIsGone(t *testing.T) {
	for name, gone := range map[string]func(*rig) (front, back toolstack.Domain){
		"the frontend": func(r *rig) (front, back toolstack.Domain) {
			front, back = domain(r.guest), domain(r.back)
			r.guest.Destroy()
			return front, back
		},
		"the backend": func(r *rig) (front, back toolstack.Domain) {
			front, back = domain(r.guest), domain(r.back)
			r.back.Destroy()
			return front, back
		},
		"another domain has its id": func(r *rig) (front, back toolstack.Domain) {
			front, back = domain(r.guest), domain(r.back)
			r.guest.Destroy()
			r.host.Create(sim.DomainConfig{ID: front.ID})
			return front, back
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			front, back := gone(r)
			err := toolstack.Attach(t.Context(), r.tools, front, back, nil)
			if !errors.Is(err, toolstack.ErrNoDomain) {
				t.Errorf("Attach returned %v, want %v", err, toolstack.ErrNoDomain)
			}
			if left := r.tree(); len(left) > 0 {
				t.Errorf("nodes are left: %v", left)
			}
		})
	}
}

func TestAttachIsOneStep(t *testing.T) {
	r := newRig(t)
	writes := 0
	fault := errors.New("full")
	for fail := 1; fault != nil; fail++ {
		writes = 0
		r.host.Xenstored().OnRequest(func(_ xen.DomID, op xenstore.Op, _ string) error {
			if op == xenstore.OpWrite || op == xenstore.OpSetPerms || op == xenstore.OpMkdir {
				if writes++; writes == fail {
					return syscall.ENOSPC
				}
			}
			return nil
		})
		fault = toolstack.Attach(t.Context(), r.tools, domain(r.guest), domain(r.back), nil)
		r.host.Xenstored().OnRequest(nil)
		if fault != nil && !errors.Is(fault, xenstore.ErrQuota) {
			t.Fatalf("request %d: %v", fail, fault)
		}
		if left := r.tree(); fault != nil && len(left) > 0 {
			t.Fatalf("request %d failed and %v is there", fail, left)
		}
	}
	if writes < 20 {
		t.Errorf("only %d requests were tried", writes)
	}
}

func TestTagsAreWords(t *testing.T) {
	r := newRig(t)
	for _, tags := range [][]string{
		{""}, {"a b"}, {"a\n"}, {"@a"}, {"\x1b[2J"}, {strings.Repeat("a", 33)}, {"ok", "tag:x"}, slices.Repeat([]string{"a"}, 17),
	} {
		err := toolstack.Attach(t.Context(), r.tools, domain(r.guest), domain(r.back), tags)
		if !errors.Is(err, toolstack.ErrTag) || len(r.tree()) > 0 {
			t.Errorf("tags %.40q: %v", tags, err)
		}
	}
	r.attach(r.back, slices.Repeat([]string{strings.Repeat("Z", 32)}, 16)...)
}

func TestADomainCannotAttachItself(t *testing.T) {
	r := newRig(t)
	store := r.store(r.guest)
	err := toolstack.Attach(t.Context(), store, domain(r.guest), domain(r.back), nil)
	if !errors.Is(err, fs.ErrPermission) || len(r.tree()) > 0 {
		t.Errorf("Attach with a guest's rights returned %v", err)
	}
}

func TestAttachRightAfterTheDomainWasMade(t *testing.T) {
	r := newRig(t)
	for range 20 {
		r.guest = r.host.Create(sim.DomainConfig{})
		d, err := toolstack.Find(t.Context(), r.tools, r.guest.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := toolstack.Attach(context.Background(), r.tools, d, domain(r.dom0), nil); err != nil {
			t.Fatal(err)
		}
	}
	names := make(map[string]bool)
	for _, n := range r.tree() {
		if strings.HasSuffix(n, "/attachment") {
			names[r.node(n)] = true
		}
	}
	if len(names) != 20 {
		t.Errorf("20 attaches have %d attachments: %v", len(names), slices.Collect(maps.Keys(names)))
	}
}
