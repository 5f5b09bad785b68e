package sim_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"

	"xvsock/sim"
	"xvsock/xenstore"
)

// guest opens a client in the domain's daemon.
func guest(t *testing.T, d *sim.Domain) *xenstore.Client {
	t.Helper()
	c := d.Process().Xenstore()
	t.Cleanup(func() { c.Close() })
	return c
}

func TestADomainHasTheNodesThatLibxlMakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := sim.NewTest(t)
		a := h.Create(sim.DomainConfig{Name: "web", UUID: "6c2d2b6e-0000-4000-8000-00000000a0a0", DriverDomain: true})
		b := h.Create(sim.DomainConfig{})
		inside, outside := guest(t, a), guest(t, b)
		for path, want := range map[string]string{
			"name": "web", "domid": "1", "vm": "/vm/" + a.UUID(), "/vm/" + a.UUID() + "/name": "web", "/vm/" + a.UUID() + "/uuid": a.UUID(),
		} {
			if got, err := inside.Read(t.Context(), path); got != want || err != nil {
				t.Errorf("%s is %q, %v; want %q", path, got, err, want)
			}
		}
		for _, path := range []string{"data/x", "drivers/x", "feature/x", "attr/x", "error/x", "control/shutdown", "device/suspend/event-channel", "libxl/x"} {
			if err := inside.Write(t.Context(), path, ""); err != nil {
				t.Errorf("the guest writes %s: %v", path, err)
			}
		}
		for _, path := range []string{"name", "domid", "device/xvsock", "control/x", "/vm/" + a.UUID() + "/name", "backend/xvsock", "x"} {
			if err := inside.Write(t.Context(), path, ""); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("the guest writes %s: %v", path, err)
			}
		}
		for _, path := range []string{"/local/domain/1/name", "/local/domain/1/data", "/vm/" + a.UUID() + "/uuid", "/local/domain/2/libxl"} {
			if got, err := outside.Read(t.Context(), path); err == nil {
				t.Errorf("another guest reads %s: %q", path, got)
			}
		}
		if got, err := guest(t, h.Domain(0)).Read(t.Context(), "/local/domain/0/name"); got != "Domain-0" || err != nil {
			t.Errorf("domain 0's name is %q, %v", got, err)
		}
	})
}

func TestDestroyRemovesNodesAndReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, b := pair(t)
		dom0 := guest(t, h.Domain(0))
		released, err := dom0.Watch(t.Context(), "@releaseDomain")
		if err != nil {
			t.Fatal(err)
		}
		defer released.Close()
		<-released.Changed()
		// What the domain owns elsewhere goes with it, as a frontend's directory.
		if err := dom0.Write(t.Context(), "/local/domain/2/theirs", ""); err != nil {
			t.Fatal(err)
		}
		if err := dom0.SetPermissions(t.Context(), "/local/domain/2/theirs", xenstore.Permission{Domain: 1}, xenstore.Permission{Domain: 2, Read: true}); err != nil {
			t.Fatal(err)
		}
		a.Destroy()
		<-released.Changed()
		for _, path := range []string{"/local/domain/1", "/vm/" + a.UUID(), "/libxl/1", "/local/domain/2/theirs"} {
			if _, err := dom0.Read(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", path, err)
			}
		}
		b.Shutdown()
		<-released.Changed()
		if ids, err := dom0.List(t.Context(), "/local/domain"); err != nil || !slices.Contains(ids, "2") {
			t.Errorf("a shut down domain's nodes are gone: %q, %v", ids, err)
		}
	})
}

func TestARestoredDomainsConnectionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t)
		c := guest(t, a)
		resumed, err := c.WatchResume(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer resumed.Close()
		if err := a.Suspend(); err != nil {
			t.Fatal(err)
		}
		read := make(chan error)
		go func() {
			id, err := c.DomID(t.Context())
			if err == nil && id != a.ID() {
				err = errors.New("the domain has id " + id.String())
			}
			read <- err
		}()
		synctest.Wait()
		select {
		case err := <-read:
			t.Fatalf("a suspended domain was answered: %v", err)
		default:
		}
		if err := a.Resume(); err != nil {
			t.Fatal(err)
		}
		<-resumed.Changed()
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	})
}

func TestKillClosesTheConnectionAndItsWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, _ := pair(t)
		c := guest(t, a)
		if _, err := c.Watch(t.Context(), "data"); err != nil {
			t.Fatal(err)
		}
		if u := h.Xenstored().Usage(1); u.Connections != 1 || u.Watches != 1 {
			t.Fatalf("usage %+v", u)
		}
		a.Process().Kill()
		<-c.Done()
		if u := h.Xenstored().Usage(1); u.Connections != 0 || u.Watches != 0 {
			t.Errorf("usage %+v after the kill", u)
		}
		if err := guest(t, a).Write(t.Context(), "data/x", "next"); err != nil {
			t.Errorf("the next process: %v", err)
		}
	})
}

func TestAnOpenConnectionIsALeak(t *testing.T) {
	h := sim.New()
	defer h.Close()
	a := h.Create(sim.DomainConfig{})
	c := a.Process().Xenstore()
	if leaks := h.Leaks(); len(leaks) != 1 {
		t.Errorf("leaks %v", leaks)
	}
	c.Close()
	if leaks := h.Leaks(); len(leaks) != 0 {
		t.Errorf("leaks %v", leaks)
	}
}
