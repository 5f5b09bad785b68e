package sim_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/grant"
	"xvsock/sim"
	"xvsock/xen"
)

func TestDomainIDsGrowAndAreNotUsedAgainSoon(t *testing.T) {
	h := sim.NewTest(t)
	a, b := h.Create(sim.DomainConfig{}), h.Create(sim.DomainConfig{})
	a.Destroy()
	c := h.Create(sim.DomainConfig{})
	if a.ID() != 1 || b.ID() != 2 || c.ID() != 3 {
		t.Fatalf("ids %d %d %d", a.ID(), b.ID(), c.ID())
	}
	again := h.Create(sim.DomainConfig{ID: 1, Name: "again"})
	if h.Domain(1) != again || h.Domain(0) == nil || h.Domain(9) != nil || len(h.Domains()) != 4 {
		t.Fatalf("domains %v", h.Domains())
	}
}

func TestCopyFromADestroyedDomainIsABadDomain(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	a.Destroy()
	if _, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 8); !errors.Is(err, grant.StatusBadDomain) {
		t.Fatal(err)
	}
	if _, err := a.Process().Grants().Share(b.ID(), 1, grant.ReadOnly); !errors.Is(err, sim.ErrDead) {
		t.Fatal(err)
	}
}

// The kernel of a destroyed domain runs no more: nothing clears the byte, and
// nothing sends the event.
func TestDestroyIsSilent(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	pages.Bytes()[64] = 1
	m := mapped(t, b.Process(), a, pages.Refs())
	mouth, ear := connect(t, a.Process(), b.Process())
	if err := pages.OnRevoke(64, mouth.Port()); err != nil {
		t.Fatal(err)
	}
	a.Destroy()
	if came(ear) || m.Bytes()[64] != 1 {
		t.Fatal("the destroyed domain did something")
	}
	if err := ear.Notify(); err != nil {
		t.Fatal(err)
	}
}

// The statuses are those that Xen 4.17 gave.
func TestMappedPagesOutliveTheirDomainAndKeepItsID(t *testing.T) {
	h, a, b := pair(t)
	pages := share(t, a.Process(), b, 2, grant.ReadOnly)
	other := share(t, a.Process(), b, 1, grant.ReadOnly)
	copy(pages.Bytes()[xen.PageSize:], "still here")
	m := mapped(t, b.Process(), a, pages.Refs())
	id := a.ID()
	a.Destroy()
	if got := string(m.Bytes()[xen.PageSize : xen.PageSize+10]); got != "still here" {
		t.Fatalf("the mapping shows %q", got)
	}
	for _, copies := range []struct {
		ref  grant.Ref
		want grant.Status
	}{
		{pages.Refs()[0], grant.StatusBadDomain}, // mapped
		{other.Refs()[0], grant.StatusBadPage},
		{400, grant.StatusGeneralError},
		{4000, grant.StatusBadRef},
	} {
		if _, err := read(b.Process(), id, copies.ref, 0, 8); !errors.Is(err, copies.want) {
			t.Errorf("copy from the dying domain, reference %d: %v; want %v", copies.ref, err, copies.want)
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the dying domain's id was given out")
			}
		}()
		h.Create(sim.DomainConfig{ID: id})
	}()
	m.Unmap()
	if _, err := read(b.Process(), id, pages.Refs()[0], 0, 8); !errors.Is(err, grant.StatusBadDomain) {
		t.Fatalf("copy from the gone domain: %v", err)
	}
	h.Create(sim.DomainConfig{ID: id})
}

func TestAShutDownDomainsPagesCanBeCopied(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 1, grant.ReadOnly)
	copy(pages.Bytes(), "last words")
	a.Shutdown()
	if got, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 10); got != "last words" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
	if err := pages.Revoke(); err != nil {
		t.Fatal(err)
	}
	if _, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 10); err != nil {
		t.Fatalf("a dead process revoked a page: %v", err)
	}
	a.Destroy()
}

func TestPauseHoldsTheDomainsCallsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		pages := share(t, a.Process(), b, 1, grant.ReadOnly)
		ca, cb := connect(t, a.Process(), b.Process())
		a.Pause()
		done := make(chan struct{})
		go func() {
			defer close(done)
			ca.Notify()
		}()
		synctest.Wait()
		if came(cb) {
			t.Error("a paused domain sent an event")
		}
		if _, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 8); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		a.Unpause()
		<-done
		if !came(cb) {
			t.Error("the event did not come after Unpause")
		}
	})
}

func TestStuckPagesAreCountedAndNotUsedAgain(t *testing.T) {
	_, a, b := pair(t)
	pages := share(t, a.Process(), b, 3, grant.ReadOnly)
	m := mapped(t, b.Process(), a, pages.Refs()[1:])
	pages.Revoke()
	if a.Stuck() != 2 || a.Granted() != 0 {
		t.Fatalf("stuck %d, granted %d", a.Stuck(), a.Granted())
	}
	next := share(t, a.Process(), b, 3, grant.ReadOnly)
	for _, ref := range next.Refs() {
		if ref == pages.Refs()[1] || ref == pages.Refs()[2] {
			t.Fatalf("reference %d is stuck and was given out", ref)
		}
	}
	m.Unmap()
	if a.Stuck() != 0 {
		t.Fatalf("stuck %d after the last unmap", a.Stuck())
	}
	if _, err := read(b.Process(), a.ID(), pages.Refs()[1], 0, 8); !errors.Is(err, grant.StatusGeneralError) {
		t.Fatal(err)
	}
}

func TestTheGrantLimitIsTheDomains(t *testing.T) {
	h := sim.NewTest(t)
	a := h.Create(sim.DomainConfig{GrantLimit: 5})
	b := h.Create(sim.DomainConfig{})
	share(t, a.Process(), b, 3, grant.ReadOnly)
	rest := share(t, a.NewProcess(), b, 2, grant.ReadOnly)
	if _, err := a.Process().Grants().Share(b.ID(), 1, grant.ReadOnly); !errors.Is(err, grant.ErrNoGrants) {
		t.Fatal(err)
	}
	rest.Revoke()
	share(t, a.Process(), b, 2, grant.ReadOnly)
}
