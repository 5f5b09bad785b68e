package vsock_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xenstore"
)

// TestXenConn runs both ends of a front link in one process in dom0, which is
// attached to itself: grants, copies, event channels and xenstore are Xen's.
func TestXenConn(t *testing.T) {
	if _, err := os.Stat("/dev/xen/evtchn"); errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs Xen; `make test` runs this on real Xen in QEMU")
	}
	d := openXen(t)
	testSelf(t, d)
}

// The same on the simulated host, so that the test itself is run everywhere.
func TestConnBetweenTwoHalvesInOneDomain(t *testing.T) {
	h := sim.NewTest(t)
	p := h.Domain(0).NewProcess()
	d := link.NewDomain(0, p.Grants(), p.Events(), p.Xenstore())
	t.Cleanup(func() { d.Store.Close() })
	testSelf(t, d)
}

// openXen opens the devices of the domain that the test runs in.
func openXen(t *testing.T) *link.Domain {
	t.Helper()
	store, err := xenstore.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	self, err := store.ReadDomID(t.Context(), "domid")
	if err != nil {
		t.Fatal(err)
	}
	grants, err := grant.Open(grant.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { grants.Close() })
	events, err := evtchn.Open(evtchn.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	return link.NewDomain(self, grants, events, store)
}

// testSelf attaches a domain to itself and tests connections between the two
// halves.
func testSelf(t *testing.T, d *link.Domain) {
	self := toolstack.Domain{ID: d.ID()}
	if err := toolstack.Attach(t.Context(), d.Store, self, self, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := toolstack.Detach(ctx, d.Store, self); err != nil {
			t.Error(err)
		}
	})
	back, front := newNodeOn(t, d, backendOf(roomy)), newNodeOn(t, d, roomy)
	defer front.stop()
	defer back.stop()
	back.back(d.ID())
	front.front().up(1)
	back.up(1)
	atBack, atFront := back.listen(7), front.listen(8)

	t.Run("dialed by the frontend", func(t *testing.T) {
		nettest.TestConn(t, pipes(front, vsock.CIDBackend, atBack))
	})
	t.Run("dialed by the backend", func(t *testing.T) {
		nettest.TestConn(t, pipes(back, uint32(d.ID()), atFront))
	})
	t.Run("1 MiB both ways", func(t *testing.T) {
		a := front.dial(vsock.CIDBackend, 7)
		defer a.Close()
		b := accept(t, atBack)
		defer b.Close()
		begin := time.Now()
		transfer(t, a, b, 1<<20)
		transfer(t, b, a, 1<<20)
		t.Logf("2 MiB in %v", time.Since(begin))
	})
}
