package toolstack_test

import (
	"errors"
	"io/fs"
	"path"
	"sort"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/xenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a host with three domains beside dom0, and the toolstack.
type rig struct {
	t                  *testing.T
	host               *sim.Host
	tools              *xenstore.Client
	dom0               *sim.Domain
	guest, back, other *sim.Domain
}

func newRig(t *testing.T) *rig {
	t.Helper()
	h := sim.NewTest(t)
	r := &rig{
		t: t, host: h, tools: h.Toolstack(), dom0: h.Domain(0),
		guest: h.Create(sim.DomainConfig{Name: "guest"}),
		back:  h.Create(sim.DomainConfig{Name: "back"}),
		other: h.Create(sim.DomainConfig{Name: "other"}),
	}
	t.Cleanup(func() { r.tools.Close() })
	return r
}

// domain is what the toolstack calls a domain.
func domain(d *sim.Domain) toolstack.Domain {
	uuid := d.UUID()
	if d.ID() == 0 {
		uuid = "" // there is no /local/domain/0/vm
	}
	return toolstack.Domain{ID: d.ID(), Name: d.Name(), UUID: uuid}
}

// attach attaches the guest.
func (r *rig) attach(back *sim.Domain, tags ...string) {
	r.t.Helper()
	if err := toolstack.Attach(r.t.Context(), r.tools, domain(r.guest), domain(back), tags); err != nil {
		r.t.Fatal(err)
	}
}

// store opens xenstore with the rights of a domain.
func (r *rig) store(d *sim.Domain) *xenstore.Client {
	c := d.NewProcess().Xenstore()
	r.t.Cleanup(func() { c.Close() })
	return c
}

// node is a node's value and permissions, as in "value r1 n2".
func (r *rig) node(name string) string {
	r.t.Helper()
	v, err := r.tools.Read(r.t.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		r.t.Fatal(err)
	}
	perms, err := r.tools.GetPermissions(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	text := v
	for _, p := range perms {
		text += " " + p.String()
	}
	return strings.TrimSpace(text)
}

// tree lists all nodes of the store that have to do with xvsock.
func (r *rig) tree() []string {
	r.t.Helper()
	var all []string
	var walk func(dir string)
	walk = func(dir string) {
		names, err := r.tools.List(r.t.Context(), dir)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, name := range names {
			p := path.Join(dir, name)
			if strings.Contains(p, "/xvsock") {
				all = append(all, p)
			}
			walk(p)
		}
	}
	walk("/")
	sort.Strings(all)
	return all
}
