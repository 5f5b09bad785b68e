package toolstack_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"xvsock/sim"
	"xvsock/toolstack"
)

func TestPickFindsTheOneThatWasMeant(t *testing.T) {
	all := []toolstack.Domain{
		{ID: 0, Name: "Domain-0"},
		{ID: 1, Name: "web", UUID: "11111111-2222-4333-8444-aaaaaaaaaaaa"},
		{ID: 2, Name: "twin"},
		{ID: 3, Name: "twin", UUID: "33333333-2222-4333-8444-aaaaaaaaaaaa"},
		{ID: 4, Name: "7", UUID: "44444444-2222-4333-8444-aaaaaaaaaaaa"},
		{ID: 5, Name: "0"},
		{ID: 9, Name: "12"},
		{ID: 7, Name: "seven"},
		{ID: 8},
	}
	for _, c := range []struct {
		spec string
		id   int // of the domain; -1: none, -2: several
	}{
		{"web", 1}, {"1", 1}, {"0", 0}, {"Domain-0", 0},
		{"11111111-2222-4333-8444-aaaaaaaaaaaa", 1},
		{"uuid:11111111-2222-4333-8444-AAAAAAAAAAAA", 1},
		{"7", 7}, {"seven", 7}, {"8", 8},
		{"6", -1}, {"12", -1}, // of digits only: no name
		{"44444444-2222-4333-8444-aaaaaaaaaaaa", 4},
		{"twin", -2}, {"2", 2}, {"uuid:33333333-2222-4333-8444-aaaaaaaaaaaa", 3},
		{"", -1}, {"uuid:", -1}, {"WEB", -1}, {"we", -1}, {"01", -1}, {"+1", -1}, {"10", -1}, {"-1", -1}, {"\x1b[2J", -1},
	} {
		d, err := toolstack.Pick(all, c.spec)
		switch {
		case c.id == -1 && !errors.Is(err, toolstack.ErrNoDomain),
			c.id == -2 && !errors.Is(err, toolstack.ErrAmbiguous),
			c.id >= 0 && (err != nil || int(d.ID) != c.id):
			t.Errorf("Pick(%q) = %v, %v; want %d", c.spec, d, err, c.id)
		}
	}
}

// A domU cannot be taken for domain 0 by what it is called, also when there is no
// such id.
func TestANumberIsNoName(t *testing.T) {
	for _, all := range [][]toolstack.Domain{{{ID: 5, Name: "0"}, {ID: 0, Name: "Domain-0"}}, {{ID: 5, Name: "0"}}} {
		d, err := toolstack.Pick(all, "0")
		if err == nil && d.ID != 0 || len(all) == 1 && !errors.Is(err, toolstack.ErrNoDomain) {
			t.Errorf("Pick(%v, 0) = %v, %v", all, d, err)
		}
	}
}

func TestBackendsAreTheDomainsWithFrontends(t *testing.T) {
	r := newRig(t)
	expect := func(want ...toolstack.Domain) {
		t.Helper()
		got, err := toolstack.Backends(t.Context(), r.tools)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Backends = %v, %v, want %v", got, err, want)
		}
	}
	expect()
	r.attach(r.back)
	expect(domain(r.back))
	r.attach(r.dom0)
	expect(domain(r.dom0)) // the other's directory is empty
	if got, err := toolstack.Backends(t.Context(), r.store(r.guest)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("with a guest's rights: %v, %v", got, err)
	}
}

func TestFindKnowsEveryRunningDomain(t *testing.T) {
	r := newRig(t)
	upper := r.host.Create(sim.DomainConfig{Name: "upper", UUID: "ABCDEF00-0000-4000-8000-000000000000"})
	for spec, want := range map[string]*sim.Domain{
		"guest": r.guest, r.back.UUID(): r.back, "0": r.dom0, "Domain-0": r.dom0,
		"abcdef00-0000-4000-8000-000000000000": upper, "ABCDEF00-0000-4000-8000-000000000000": upper,
	} {
		d, err := toolstack.Find(t.Context(), r.tools, spec)
		if err != nil || d.ID != want.ID() || d.Name != want.Name() {
			t.Errorf("Find(%q) = %v, %v; want %s", spec, d, err, want.Name())
		}
	}
	r.guest.Destroy()
	if _, err := toolstack.Find(t.Context(), r.tools, "guest"); !errors.Is(err, toolstack.ErrNoDomain) {
		t.Errorf("a destroyed domain is found: %v", err)
	}
}

func TestListPassesOverWhatIsNoDomain(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/local/domain/x", "/local/domain/99999", "/local/domain/07", "/local/domain/9/name"} {
		if err := r.tools.Write(t.Context(), path, ""); err != nil {
			t.Fatal(err)
		}
	}
	all, err := toolstack.List(t.Context(), r.tools)
	if err != nil || len(all) != 5 || all[0].ID != 0 || all[4].ID != 9 || all[4].Name != "" {
		t.Errorf("List = %v, %v", all, err)
	}
}

func TestADomainMayDescribeItself(t *testing.T) {
	r := newRig(t)
	d, err := toolstack.Describe(t.Context(), r.store(r.guest), r.guest.ID())
	if err != nil || d != domain(r.guest) {
		t.Errorf("Describe = %v, %v", d, err)
	}
}

func TestDomainIsNamedByNameAndID(t *testing.T) {
	for want, d := range map[string]toolstack.Domain{"web (3)": {ID: 3, Name: "web"}, "3": {ID: 3}} {
		if d.String() != want {
			t.Errorf("%+v is called %q, want %q", d, d.String(), want)
		}
	}
}
