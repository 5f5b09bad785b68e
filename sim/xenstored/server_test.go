package xenstored_test

import (
	"testing"

	"go.uber.org/goleak"

	"xvsock/sim/conformance"
	"xvsock/sim/xenstored"
	"xvsock/xen"
	"xvsock/xenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newHost makes a server with two guests, 5 and 6, each with a directory as a
// toolstack makes it.
func newHost(t *testing.T) *xenstored.Server {
	t.Helper()
	s := xenstored.New()
	t.Cleanup(func() { s.Close() })
	dom0 := connect(t, s, 0)
	if err := dom0.Write(t.Context(), "/local/domain/0/domid", "0"); err != nil {
		t.Fatal(err)
	}
	dom0.Close()
	addGuest(t, s, 5)
	addGuest(t, s, 6)
	return s
}

// addGuest makes a guest's directory as a toolstack does, and introduces it.
func addGuest(t *testing.T, s *xenstored.Server, dom xen.DomID) {
	t.Helper()
	dom0 := connect(t, s, 0)
	defer dom0.Close()
	s.Create(dom)
	home := "/local/domain/" + dom.String()
	for _, n := range []struct {
		path, value string
		owner       xen.DomID
	}{
		{home, "", 0}, {home + "/domid", dom.String(), 0}, {home + "/data", "", dom},
	} {
		if err := dom0.Write(t.Context(), n.path, n.value); err != nil {
			t.Fatal(err)
		}
		permissions := []xenstore.Permission{{Domain: n.owner}, {Domain: dom, Read: true}}
		if err := dom0.SetPermissions(t.Context(), n.path, permissions...); err != nil {
			t.Fatal(err)
		}
	}
	s.Introduce(dom)
}

// connect makes a client that is closed at the test's end at the latest.
func connect(t *testing.T, s *xenstored.Server, dom xen.DomID) *xenstore.Client {
	t.Helper()
	c := xenstore.New(s.Connect(dom), xenstore.Config{})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestXenstoreConformance(t *testing.T) {
	s := newHost(t)
	as := func(dom xen.DomID, device bool) func(*testing.T) *xenstore.Client {
		return func(*testing.T) *xenstore.Client {
			return xenstore.New(s.Connect(dom), xenstore.Config{Device: device})
		}
	}
	for _, c := range []struct {
		name  string
		store conformance.StorePair
	}{
		{"domain 0 by socket", conformance.StorePair{
			Open: as(0, false), Base: "/local/domain/0", Privileged: true, Other: as(6, false), OtherDomain: 6,
		}},
		{"domain 0 one request at a time", conformance.StorePair{
			Open: as(0, true), Base: "/local/domain/0", Privileged: true, Other: as(6, true), OtherDomain: 6,
		}},
		{"a guest", conformance.StorePair{
			Open: as(5, true), Domain: 5, Base: "/local/domain/5/data", Other: as(6, true), OtherDomain: 6, Quotas: true,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { conformance.Xenstore(t, c.store) })
	}
	for _, dom := range []xen.DomID{0, 5, 6} {
		u := s.Usage(dom)
		if u.Watches != 0 || u.Transactions != 0 || u.Connections != 0 {
			t.Errorf("domain %v has left %+v", dom, u)
		}
	}
}
