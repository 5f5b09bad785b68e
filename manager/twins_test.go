package manager

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

const someUUID = "00000000-0000-0000-0000-0000000000ab"

// attachAs attaches a frontend with a uuid.
func (d *desk) attachAs(id xen.DomID, uuid string) {
	d.attached++
	who := Identity{Domain: id, Name: fmt.Sprint("d", id), UUID: uuid, Attachment: fmt.Sprintf("%032x", d.attached)}
	f := newFrontend(d.Manager, who)
	d.changing.Lock()
	defer d.changing.Unlock()
	d.enter(id, new(who.domain()), func() { d.frontends[id] = f })
}

// claimed is a link to a frontend, as its other end lists it.
func (d *desk) claimed(id xen.DomID, generation uint64) port1.Live {
	f := d.frontends[id]
	return port1.Live{UUID: f.uuid, Attachment: f.attachment, Generation: generation}
}

func TestAUUIDOfTwoDomainsIsNobodys(t *testing.T) {
	d := newDesk(1, Budgets{}, "7 d1 uuid:"+someUUID+" allow")
	d.attachAs(2, someUUID)
	if !d.Allowed(1, 2, 7) {
		t.Error("a uuid does not tell a domain")
	}
	d.attachAs(3, "00000000-0000-0000-0000-0000000000AB")
	if d.Allowed(1, 2, 7) || d.Allowed(1, 3, 7) {
		t.Error("a uuid that two domains carry tells one of them")
	}
	for _, f := range d.Frontends() {
		if f.TwinUUID != (f.Domain != 1) || f.Twin {
			t.Errorf("%v is a twin: %v, by uuid %v", f.Name, f.Twin, f.TwinUUID)
		}
	}
	d.frontends[2].detach = func(error) {}
	d.dropOthers(map[xen.DomID]bool{1: true, 3: true})
	if !d.Allowed(1, 3, 7) {
		t.Error("the other one is gone, and the uuid does not tell a domain still")
	}
	// So it is with the backend's own uuid, and not with none.
	d.Manager = New(Config{Self: policy.Domain{UUID: someUUID}})
	d.attachAs(1, someUUID)
	d.attachAs(2, "")
	d.attachAs(3, "")
	if all := d.Domains(); !all[0].TwinUUID || !all[1].TwinUUID || all[2].TwinUUID || all[3].TwinUUID {
		t.Errorf("domains are %+v", all)
	}
	d.frontends[2].detach = func(error) {}
	d.dropOthers(map[xen.DomID]bool{1: true, 3: true})
	if f := d.otherEnd(claim{}, held{}); f != nil {
		t.Errorf("a link to nobody is one to %v", f.id)
	}
}

// A link to one of two domains that have the same uuid, or none, is not taken for a
// link to the other.
func TestLinksOfTwinsAreNotConfused(t *testing.T) {
	for name, uuid := range map[string]string{
		"two with the same uuid": someUUID,
		"two without a uuid":     "00000000-0000-0000-0000-000000000000",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(1, Budgets{}, "7 * * allow")
			d.attachAs(2, uuid)
			d.attachAs(3, uuid)
			a, b := d.join(1, d.claimed(2, 5)), d.join(2, d.claimed(1, 5))
			a.hears(t, "PEER 2, PEER 3")
			b.hears(t, "PEER 1, PEER 3, HELLO")
			d.join(3).hears(t, "PEER 1, PEER 2, HELLO")
			a.hears(t, "")
			b.hears(t, "")
			if len(a.f.claims) != 1 || len(b.f.claims) != 1 {
				t.Errorf("links are %v and %v", a.f.claims, b.f.claims)
			}
			// Two that are brokered are two.
			a.f.claims, a.hello = nil, nil
			for id, c := range map[xen.DomID]*conversation{2: b, 3: d.frontends[3].talk} {
				a.must(t, d.ask(uint64(id), id, 7))
				c.heard(t)
				c.must(t, port1.ConnectAck{ID: d.pending(t).id, Terms: port1.Terms{Generation: uint64(id)}})
			}
			if links := d.Frontends()[0].Links; len(links) != 2 || links[0].Peer != 2 || links[1].Peer != 3 {
				t.Errorf("links are %v", links)
			}
		})
	}
}

// After the manager was restarted, a link that no rule allows any more is not kept
// until it has gathered everybody.
func TestALinkThatIsNotAllowedAnyMoreEndsAtOnce(t *testing.T) {
	d := newDesk(3, Budgets{}, "7 d1 d3 allow")
	never := linkTo(d, "never")
	a := d.join(1, d.claimed(2, 5), never)
	a.hears(t, "PEER 3, PEER 2 gone")
	// So it is with one that is attached, or not allowed any more, while it gathers.
	d.attachAs(4, someUUID)
	a.must(t, port1.Hello{ID: 2, Links: []port1.Live{never, d.claimed(4, 6)}})
	d.rule()
	a.hears(t, "PEER 3 gone, PEER 4 gone")
	if len(a.f.claims) != 1 {
		t.Errorf("claims are %v", a.f.claims)
	}
	// And with one that the manager finds only then.
	soon := port1.Live{UUID: uuidOf(5), Attachment: binaryAttachment(fmt.Sprintf("%032x", d.attached+1)), Generation: 7}
	a.must(t, port1.Hello{ID: 3, Links: []port1.Live{never, soon}})
	d.attachAs(5, "00000000-0000-0000-0000-000000000005")
	a.hears(t, "PEER 5 gone")
}

// Who knows a uuid does not learn whether its domain is attached, and by which id,
// without a rule: neither from what it is told nor from when.
func TestAUUIDDoesNotTellWhetherItsDomainIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		attached bool
		others   []port1.Live
	}{
		"it is not attached":                {},
		"it is, and has not the link":       {attached: true},
		"it is, and has a link of its own":  {attached: true, others: []port1.Live{{Generation: 9}}},
		"it is, and says to have this link": {attached: true, others: []port1.Live{{UUID: binaryUUID("00000000-0000-0000-0000-000000000001"), Generation: 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(1, Budgets{})
				if c.attached {
					d.attachAs(2, someUUID)
					d.join(2, c.others...)
				}
				a := d.join(1, port1.Live{UUID: binaryUUID(someUUID), Generation: 5})
				if c.attached {
					d.frontends[2].talk.leave()
					d.join(2, c.others...)
				}
				time.Sleep(gatherTime - time.Millisecond)
				a.hears(t, "")
				time.Sleep(time.Millisecond)
				synctest.Wait()
				a.hears(t, "HELLO")
				if c.attached {
					d.frontends[2].talk.leave()
				}
			})
		})
	}
}

// A frontend does not make room in its budget by denying links that others have with
// it.
func TestWhoDeniesItsLinksHasThemStill(t *testing.T) {
	const most, n = 4, 20
	for name, said := range map[string]func(i uint64) []port1.Live{
		"it lists none":           func(uint64) []port1.Live { return nil },
		"it lists another link":   func(uint64) []port1.Live { return []port1.Live{{UUID: port1.UUID{1}, Generation: 1}} },
		"it lists another to it":  func(i uint64) []port1.Live { return []port1.Live{{UUID: uuidOf(i), Generation: 999}} },
		"it lists that, and none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(n, Budgets{Links: most, Burst: 1000}, "7 * * allow")
			a, links := d.join(1), 0
			for i := uint64(2); i <= n; i++ {
				b := d.join(xen.DomID(i))
				b.heard(t)
				a.must(t, d.ask(i, xen.DomID(i), 7))
				b.heard(t)
				for id := range b.unanswered {
					b.must(t, port1.ConnectAck{ID: id, Terms: port1.Terms{Generation: i}})
					links++
				}
				a.heard(t)
				if said == nil {
					a.must(t, port1.Hello{ID: 9, Links: []port1.Live{{UUID: uuidOf(i), Generation: 999}}})
					a.must(t, port1.Hello{ID: 9})
				} else {
					a.must(t, port1.Hello{ID: 9, Links: said(i)})
				}
			}
			if links == 0 || links > most {
				t.Errorf("%d links with a budget of %d", links, most)
			}
		})
	}
}

// What a frontend has denied, it has not agreed to: the other end hears that it is
// gone as its next conversation begins.
func TestALinkThatTheOtherEndHasDeniedIsEnded(t *testing.T) {
	d, a, b := two(t)
	a.must(t, d.ask(5, 2, 7))
	b.heard(t)
	b.must(t, port1.ConnectAck{ID: d.pending(t).id, Terms: port1.Terms{Generation: 5}})
	a.hears(t, "RSP ok")
	a.must(t, port1.Hello{ID: 2})
	if all := d.Frontends(); len(all[0].Links) != 0 || all[0].Use.Links != 1 || len(all[1].Links) != 1 {
		t.Errorf("links are %v, which count for %d, and %v", all[0].Links, all[0].Use.Links, all[1].Links)
	}
	b.leave()
	d.join(2, d.claimed(1, 5)).hears(t, "PEER 1 gone, PEER 1, HELLO")
	a.hears(t, "") // it knows
	if all := d.Frontends(); all[0].Use.Links+all[1].Use.Links != 0 {
		t.Errorf("links count for %d and %d", all[0].Use.Links, all[1].Use.Links)
	}
}

func uuidOf(id uint64) port1.UUID {
	return binaryUUID(fmt.Sprintf("00000000-0000-0000-0000-%012x", id))
}
