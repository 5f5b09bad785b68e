package manager

import (
	"testing"

	"xvsock/manager/port1"
	"xvsock/xen"
)

// confirmAll lets a frontend take all there is and confirm it.
func (c *conversation) confirmAll(t *testing.T) {
	t.Helper()
	c.heard(t)
	for id := range c.unacked {
		c.must(t, port1.PeerAck{ID: id})
	}
}

// Whoever may go by what was allowed earlier has not confirmed: nobody is told that a
// change is in force before it is.
func TestWhoHasConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		become func(d *desk, t *testing.T)
		want   bool
	}{
		"it was never up":                          {func(*desk, *testing.T) {}, false},
		"it is connected and has said nothing":     {func(d *desk, _ *testing.T) { d.open(1, &tape{}) }, false},
		"its HELLO is not answered":                {func(d *desk, t *testing.T) { d.join(1, linkTo(d, "never")).confirmAll(t) }, false},
		"it has not confirmed what it was told":    {func(d *desk, t *testing.T) { d.join(1).heard(t) }, false},
		"it has confirmed all":                     {func(d *desk, t *testing.T) { d.join(1).confirmAll(t) }, true},
		"what it has confirmed is not allowed now": {func(d *desk, t *testing.T) { d.join(1).confirmAll(t); d.rule() }, false},
		"it has confirmed, and its link has ended": {func(d *desk, t *testing.T) {
			a := d.join(1)
			a.confirmAll(t)
			d.mu.Lock()
			defer d.mu.Unlock()
			a.leave()
		}, false},
		"it was detached": {func(d *desk, t *testing.T) {
			d.frontends[1].detach = func(error) {}
			d.dropOthers(map[xen.DomID]bool{2: true})
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(2, Budgets{}, "7 * * allow")
			b := d.join(2)
			c.become(d, t)
			b.confirmAll(t)
			want := 1
			if c.want {
				want = 0
			}
			if _, n := d.Progress(); n != want {
				t.Errorf("%d have not confirmed, want %d", n, want)
			}
			if all := d.Frontends(); all[0].Confirmed != c.want || !all[1].Confirmed {
				t.Errorf("confirmed: %v and %v", all[0].Confirmed, all[1].Confirmed)
			}
		})
	}
}

// SetPolicy does not hold up everybody while it looks at each pair of domains: what
// there is to look at is each frontend's own writer's work.
func TestAChangeOfPolicyLooksAtNoPairUnderTheLock(t *testing.T) {
	d := newDesk(3, Budgets{}, "7 * * allow")
	a := d.join(1)
	a.confirmAll(t)
	d.rule("8 * * allow")
	if len(a.due) != 0 || !a.roused() {
		t.Errorf("%d peers were looked at", len(a.due))
	}
	if _, n := d.Progress(); n != 3 {
		t.Errorf("%d have not confirmed", n)
	}
	a.hears(t, "PEER 2, PEER 3")
}

// A CONNECT_ind never comes before the PEER by which it is allowed, though whoever
// asks may have been told earlier.
func TestAnIndicationComesAfterThePeerThatAllowsIt(t *testing.T) {
	d := newDesk(2, Budgets{})
	a, b := d.join(1), d.join(2)
	a.confirmAll(t)
	b.confirmAll(t)
	d.rule("7 * * allow")
	a.hears(t, "PEER 2")
	a.must(t, d.ask(1, 2, 7))
	b.hears(t, "PEER 1, IND 1")
}

// Domains that are moved to another backend together keep their links.
func TestDomainsThatGoTogetherAreNotToldOfEachOther(t *testing.T) {
	d := newDesk(3, Budgets{}, "7 * * allow")
	all := []*conversation{d.join(1), d.join(2), d.join(3)}
	for _, c := range all {
		c.confirmAll(t)
	}
	for _, c := range all[:2] {
		c.f.detach = func(error) {
			for _, other := range all[:2] { // their writers run now
				other.hears(t, "")
			}
		}
	}
	d.dropOthers(map[xen.DomID]bool{3: true})
	all[2].hears(t, "PEER 1 gone, PEER 2 gone")
}

// That so many go at once that everybody is looked at is told as well.
func TestManyDomainsGoTogether(t *testing.T) {
	d := newDesk(3*maxTouched, Budgets{}, "7 * * allow")
	a := d.join(1)
	a.confirmAll(t)
	for _, f := range d.frontends {
		f.detach = func(error) {}
	}
	d.dropOthers(map[xen.DomID]bool{1: true, 5: true})
	if !a.behind {
		t.Error("all are looked at under the lock")
	}
	a.confirmAll(t)
	if len(a.records) != 1 || len(d.tables) != 7 {
		t.Errorf("it knows %d peers; %d tables, with those of this domain", len(a.records), len(d.tables))
	}
}
