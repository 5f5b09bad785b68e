package manager

import (
	"testing"
	"testing/synctest"
	"time"

	"xvsock/manager/port1"
)

// linkTo is a link to a domain that may not be attached yet.
func linkTo(d *desk, name string) port1.Live {
	d.attach(9, name) // for its uuid only
	l := port1.Live{UUID: d.frontends[9].uuid, Generation: 5}
	d.changing.Lock()
	defer d.changing.Unlock()
	d.enter(9, nil, func() { delete(d.frontends, 9) })
	return l
}

// roused reports whether the writer was asked to look for work since the last time.
func (c *conversation) roused() bool {
	select {
	case <-c.work:
		return true
	default:
		return false
	}
}

// While everybody is moved from another manager, a frontend may come before the peer
// that it has a link to.
func TestHelloWaitsForThePeersThatItNames(t *testing.T) {
	d := newDesk(1, Budgets{}, "7 * * allow")
	a := d.join(1, linkTo(d, "late"))
	a.hears(t, "")
	d.attach(2, "another")
	a.hears(t, "PEER 2")
	a.roused()
	d.attach(9, "late")
	if !a.roused() {
		t.Error("nobody looks after the peer was attached")
	}
	a.hears(t, "PEER 9, HELLO")
}

func TestHelloDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(1, Budgets{}, "7 * * allow")
		a := d.join(1, linkTo(d, "never"))
		a.hears(t, "")
		a.roused()
		time.Sleep(gatherTime - time.Second)
		a.hears(t, "")
		time.Sleep(time.Second)
		synctest.Wait()
		if !a.roused() {
			t.Error("nobody looks after the time has passed")
		}
		a.hears(t, "HELLO")
	})
}

// A manager that was just started does not know everybody before it has looked at
// all devices once.
func TestHelloWaitsForTheFirstScan(t *testing.T) {
	d := newDesk(1, Budgets{}, "7 * * allow")
	d.scanned = false
	a := d.join(1)
	a.hears(t, "")
	a.roused()
	d.noteScan()
	if !a.roused() {
		t.Error("nobody looks after the scan")
	}
	a.hears(t, "HELLO")
}
