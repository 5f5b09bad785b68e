package sim_test

import (
	"errors"
	"strings"
	"testing"

	"xvsock/grant"
	"xvsock/sim"
)

func TestKillTakesAllFromTheProcessAndNothingFromOthers(t *testing.T) {
	_, a, b := pair(t)
	victim, other := a.NewProcess(), a.NewProcess()
	pages := share(t, victim, b, 1, grant.ReadOnly)
	kept := share(t, other, b, 1, grant.ReadOnly)
	foreign := share(t, b.Process(), a, 1, grant.ReadOnly)
	mapped(t, victim, b, foreign.Refs())
	ca, cb := connect(t, victim, b.Process())
	pages.Bytes()[7] = 1
	if err := pages.OnRevoke(7, ca.Port()); err != nil {
		t.Fatal(err)
	}
	victim.Kill()
	if !came(cb) {
		t.Error("the unmap-notify was not sent")
	}
	if _, err := read(b.Process(), a.ID(), pages.Refs()[0], 0, 8); !errors.Is(err, grant.StatusGeneralError) {
		t.Errorf("the page is still granted: %v", err)
	}
	if _, err := read(b.Process(), a.ID(), kept.Refs()[0], 0, 8); err != nil {
		t.Errorf("another process's page is gone: %v", err)
	}
	if a.Granted() != 1 || a.Ports() != 0 {
		t.Errorf("granted %d, ports %d", a.Granted(), a.Ports())
	}
	foreign.Revoke()
	if b.Stuck() != 0 {
		t.Error("the mapping outlived its process")
	}
}

// The goroutines that played the killed process find out, and do no harm.
func TestTheDeadDoNothing(t *testing.T) {
	_, a, b := pair(t)
	p := a.Process()
	pages := share(t, p, b, 1, grant.ReadOnly)
	ca, cb := connect(t, p, b.Process())
	p.Kill()
	if a.Process() == p {
		t.Fatal("the domain's process is the dead one")
	}
	next, _ := connect(t, a.Process(), b.Process())
	if next.Port() != ca.Port() {
		t.Fatalf("port %d, want the dead one's %d", next.Port(), ca.Port())
	}
	if err := ca.Notify(); !errors.Is(err, sim.ErrDead) {
		t.Error(err)
	}
	if err := errors.Join(pages.Revoke(), ca.Close(), p.Events().Close()); err != nil {
		t.Error(err)
	}
	if err := p.Grants().Copy([]grant.Segment{{Local: make([]byte, 1), Domain: b.ID(), Ref: 8}}); !errors.Is(err, sim.ErrDead) {
		t.Error(err)
	}
	if came(cb) || a.Ports() != 1 {
		t.Errorf("the dead did something: %d ports", a.Ports())
	}
}

func TestDeathWakesWhoWaitsForAnEvent(t *testing.T) {
	for name, end := range map[string]func(*sim.Process){
		"kill":     (*sim.Process).Kill,
		"shutdown": func(p *sim.Process) { p.Domain().Shutdown() },
		"destroy":  func(p *sim.Process) { p.Domain().Destroy() },
		"close":    func(p *sim.Process) { p.Events().Close() },
		"abandon":  func(p *sim.Process) { p.Events().Abandon(); p.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			_, a, b := pair(t)
			c, err := a.Process().Events().Unbound(b.ID())
			if err != nil {
				t.Fatal(err)
			}
			end(a.Process())
			if !came(c) || came(c) {
				t.Error("not one last value")
			}
		})
	}
}

// recorder is a test that only remembers.
type recorder struct {
	errors   []string
	cleanups []func()
}

func (r *recorder) Helper()                      {}
func (r *recorder) Cleanup(f func())             { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(text string, a ...any) { r.errors = append(r.errors, sprintf(text, a...)) }

func TestNewTestReportsWhatIsLeft(t *testing.T) {
	tests := []struct {
		name string
		do   func(a, b *sim.Process)
		want string
	}{
		{"nothing", func(a, b *sim.Process) {}, ""},
		{"a granted page", func(a, b *sim.Process) { a.Grants().Share(2, 3, grant.ReadOnly) }, "granted pages not revoked: 3"},
		{"a granted page of a killed process", func(a, b *sim.Process) { a.Grants().Share(2, 1, grant.ReadOnly); a.Kill() }, ""},
		{"a mapping", func(a, b *sim.Process) {
			p, _ := a.Grants().Share(2, 1, grant.ReadOnly)
			b.Grants().Map(1, p.Refs())
			p.Revoke()
		}, "pages still mapped: 1"},
		{"a port", func(a, b *sim.Process) { a.Events().Unbound(2) }, "port 8"},
		{"a notification after Close", func(a, b *sim.Process) {
			c, _ := a.Events().Unbound(2)
			c.Close()
			c.Notify()
		}, "notify on port 8 after Close"},
		{"an Unmask after Close", func(a, b *sim.Process) {
			c, _ := a.Events().Unbound(2)
			c.Close()
			c.Unmask()
		}, "unmask on port 8 after Close"},
		{"a page written after Revoke", func(a, b *sim.Process) {
			p, _ := a.Grants().Share(2, 1, grant.ReadOnly)
			mem := p.Bytes()
			p.Revoke()
			mem[9] = 1
		}, "page written after Revoke"},
		{"the id of Xen itself", func(a, b *sim.Process) { a.Events().Unbound(0x7FF1) }, "0x7ff1, which is no domain id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r recorder
			h := sim.NewTest(&r)
			tt.do(h.Create(sim.DomainConfig{}).Process(), h.Create(sim.DomainConfig{}).Process())
			for _, f := range r.cleanups {
				f()
			}
			switch {
			case tt.want == "" && len(r.errors) != 0, tt.want != "" && len(r.errors) != 1:
				t.Fatalf("reports %q, want one with %q", r.errors, tt.want)
			case tt.want != "" && !strings.Contains(r.errors[0], tt.want):
				t.Fatalf("report %q, want %q", r.errors[0], tt.want)
			case tt.want != "" && !strings.Contains(r.errors[0], "process_test.go"):
				t.Errorf("report %q does not say where", r.errors[0])
			}
		})
	}
}
