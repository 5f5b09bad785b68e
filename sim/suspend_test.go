package sim_test

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/sim"
)

// restore saves and restores d.
func restore(t *testing.T, d *sim.Domain) {
	t.Helper()
	if err := d.Suspend(); err != nil {
		t.Fatal(err)
	}
	if err := d.Resume(); err != nil {
		t.Fatal(err)
	}
}

func TestARestoredDomainHasANewIDAndNothingElse(t *testing.T) {
	h, a, b := pair(t)
	p := a.Process()
	pages := share(t, p, b, 1, grant.ReadOnly)
	copy(pages.Bytes(), "memory stays")
	foreign := share(t, b.Process(), a, 1, grant.ReadOnly)
	mapped(t, p, b, foreign.Refs())
	ca, err := p.Events().Unbound(b.ID())
	if err != nil {
		t.Fatal(err)
	}
	cb, err := b.Process().Events().Interdomain(a.ID(), ca.Port())
	if err != nil {
		t.Fatal(err)
	}
	defer cb.Close()
	old := a.ID()
	restore(t, a)
	p.Events().Abandon()
	p.OpenEvents()
	<-ca.Event()
	for _, err := range []error{ca.Notify(), ca.Unmask(), ca.Close()} {
		if !errors.Is(err, evtchn.ErrAbandoned) {
			t.Errorf("call on an abandoned channel: %v", err)
		}
	}
	if a.ID() == old || h.Domain(a.ID()) != a || h.Domain(old) != nil {
		t.Fatalf("id %d, was %d", a.ID(), old)
	}
	if _, err := read(b.Process(), old, pages.Refs()[0], 0, 8); !errors.Is(err, grant.StatusBadDomain) {
		t.Error(err)
	}
	if _, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 8); !errors.Is(err, grant.StatusGeneralError) {
		t.Error(err)
	}
	if string(pages.Bytes()[:12]) != "memory stays" {
		t.Error("the domain's memory changed")
	}
	foreign.Revoke()
	if b.Stuck() != 0 {
		t.Error("the mapping outlived the suspend")
	}
	if err := cb.Notify(); err != nil {
		t.Error(err)
	}
	next := share(t, p, b, 1, grant.ReadOnly)
	if next.Refs()[0] == pages.Refs()[0] {
		t.Error("the kernel gave out a reference that the old pages hold")
	}
	connect(t, p, b.Process())
}

func TestWhatIsDangerousAfterARestoreIsMisuse(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, s survivor)
		want string
	}{
		{"notify of an old port", func(t *testing.T, s survivor) { s.channel.Notify() }, "notify on port"},
		{"unmask of an old port", func(t *testing.T, s survivor) { s.channel.Unmask() }, "unmask on port"},
		{"unbind of an old port", func(t *testing.T, s survivor) { s.channel.Close() }, "unbind of port"},
		{"closing the old device", func(t *testing.T, s survivor) { s.events.Close() }, "unbind of port"},
		{"binding on the old device", func(t *testing.T, s survivor) { s.events.Unbound(2) }, "of before the restore"},
		{"looking at an old mapping", func(t *testing.T, s survivor) { s.mapping.Bytes() }, "mapping of before the restore"},
		{"the end of the process", func(t *testing.T, s survivor) { s.process.Kill() }, "process ends with 1 ports"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSurvivor(t)
				time.Sleep(time.Second) // it could know by now
				tt.do(t, s)
				wantMisuse(t, s.host, tt.want)
				s.process.Kill()
				s.host.Misuse()
			})
		})
	}
}

// The kernel would close whatever port has the number of before by then, its own
// included: no order of things makes that right.
func TestPagesWhoseEndSendsAnEventAreMisuseAfterARestore(t *testing.T) {
	for name, end := range map[string]func(p *sim.Process, pages grant.Pages){
		"revoked":       func(_ *sim.Process, pages grant.Pages) { pages.Revoke() },
		"process ended": func(p *sim.Process, _ grant.Pages) { p.Events().Abandon(); p.Events().Keep(); p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			h, a, b := pair(t)
			p := a.Process()
			pages := share(t, p, b, 1, grant.ReadOnly)
			c, err := p.Events().Unbound(b.ID())
			if err != nil {
				t.Fatal(err)
			}
			if err := pages.OnRevoke(0, c.Port()); err != nil {
				t.Fatal(err)
			}
			restore(t, a)
			p.Events().Abandon()
			end(p, pages)
			wantMisuse(t, h, "unmap-notify on port")
		})
	}
}

// An event that was asked for first holds on to its port; the next call gives that up.
func TestClearOnRevokeLetsGoOfThePort(t *testing.T) {
	_, a, b := pair(t)
	p := a.Process()
	pages := share(t, p, b, 1, grant.ReadOnly)
	c, _ := connect(t, p, b.Process())
	if err := errors.Join(pages.OnRevoke(0, c.Port()), c.Close()); err != nil {
		t.Fatal(err)
	}
	if a.Ports() != 1 {
		t.Fatalf("%d ports", a.Ports())
	}
	if err := pages.ClearOnRevoke(0); err != nil {
		t.Fatal(err)
	}
	if a.Ports() != 0 {
		t.Errorf("%d ports", a.Ports())
	}
	pages.Revoke()
}

// A program goes on for a moment before it learns of a restore.
func TestWhatAProgramDoesBeforeItCanKnowOfARestoreIsNoMisuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurvivor(t)
		if err := errors.Join(s.channel.Notify(), s.channel.Unmask()); err != nil {
			t.Error(err)
		}
		if _, err := s.events.Unbound(2); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("a bind on the old device: %v", err)
		}
		if list := s.host.Misuse(); len(list) > 0 {
			t.Errorf("misuse: %v", list)
		}
		s.channel.Close()
		wantMisuse(t, s.host, "unbind of port")
		s.events.Abandon()
		s.events.Keep()
		s.process.Kill()
		if list := s.host.Misuse(); len(list) > 0 {
			t.Errorf("the end of a process whose device is kept: %v", list)
		}
	})
}

func TestADomainIsRestoredUnderItsOldID(t *testing.T) {
	_, a, b := pair(t)
	p, old := a.Process(), a.ID()
	pages := share(t, p, b, 1, grant.ReadOnly)
	store := p.Xenstore()
	defer store.Close()
	if err := errors.Join(a.Suspend(), a.ResumeAs(old)); err != nil {
		t.Fatal(err)
	}
	if id, err := store.DomID(t.Context()); err != nil || id != old {
		t.Errorf("domain %v, %v", id, err)
	}
	if _, err := read(b.Process(), old, pages.Refs()[0], 0, 8); !errors.Is(err, grant.StatusGeneralError) {
		t.Errorf("a page of before: %v", err)
	}
}

// The order of design section 8: revoke and unmap, abandon, then open anew.
func TestTheRightOrderAfterARestoreIsNoMisuse(t *testing.T) {
	s := newSurvivor(t)
	if err := errors.Join(s.mapping.Unmap(), s.pages.Revoke()); err != nil {
		t.Fatal(err)
	}
	s.events.Abandon()
	c, err := s.process.OpenEvents().Unbound(2)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if s.process.Domain().Granted() != 0 {
		t.Error("the old pages still count")
	}
}

// survivor is what a process holds that was saved and restored.
type survivor struct {
	host    *sim.Host
	process *sim.Process
	events  *sim.Events
	pages   grant.Pages
	mapping grant.Mapping
	channel interface {
		Notify() error
		Unmask() error
		Close() error
	}
}

func newSurvivor(t *testing.T) survivor {
	t.Helper()
	h, a, b := pair(t)
	p := a.Process()
	pages, err := p.Grants().Share(b.ID(), 1, grant.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	m, err := p.Grants().Map(b.ID(), share(t, b.Process(), a, 1, grant.ReadOnly).Refs())
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Events().Unbound(b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := pages.ClearOnRevoke(0); err != nil {
		t.Fatal(err)
	}
	restore(t, a)
	return survivor{h, p, p.Events(), pages, m, c}
}

func TestASuspendedDomainStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		p := a.Process()
		if err := a.Suspend(); err != nil {
			t.Fatal(err)
		}
		shared := make(chan grant.Pages)
		go func() {
			pages, err := p.Grants().Share(b.ID(), 1, grant.ReadOnly)
			if err != nil {
				t.Error(err)
			}
			shared <- pages
		}()
		synctest.Wait()
		select {
		case <-shared:
			t.Error("a suspended domain granted a page")
		default:
		}
		if err := a.Resume(); err != nil {
			t.Fatal(err)
		}
		(<-shared).Revoke()
	})
}
