package link_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/link"
	"xvsock/ring"
	"xvsock/sim"
	"xvsock/xen"
)

// forgery is one side of a peer link made by hand, with a ring of one page.
type forgery struct {
	t            *testing.T
	from, to     *party
	header, ring grant.Pages
	tx, rx       evtchn.Channel // rx is nil until bind
	terms        link.Terms
	sent         uint64
}

// forge makes a right offer and then has change, if there is one, spoil its
// header page. The process of from is killed at the test's end.
func forge(t *testing.T, from, to *party, generation uint64, change func(page []byte)) *forgery {
	t.Helper()
	t.Cleanup(from.proc.Kill)
	e := &forgery{t: t, from: from, to: to}
	var err1, err2, err3 error
	e.header, err1 = from.proc.Grants().Share(to.dom.ID(), 1, grant.ReadOnly)
	e.ring, err2 = from.proc.Grants().Share(to.dom.ID(), 1, grant.ReadOnly)
	e.tx, err3 = from.proc.Events().Unbound(to.dom.ID())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if err := ring.Format(e.header.Bytes(), ring.Static{
		Generation: generation, TxSize: xen.PageSize, TxRefs: []uint32{uint32(e.ring.Refs()[0])},
	}); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		sim.Poke(e.header.Bytes(), change)
	}
	e.terms = link.Terms{Generation: generation, Header: e.header.Refs()[0], Port: e.tx.Port(), Access: to.opt.Access}
	return e
}

// bind binds the other side's port and says so.
func (e *forgery) bind(theirs link.Terms) {
	e.t.Helper()
	var err error
	if e.rx, err = e.from.proc.Events().Interdomain(e.to.dom.ID(), theirs.Port); err == nil {
		err = e.rx.Notify()
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// send puts bytes into the ring and moves the producer; if all has been taken back
// meanwhile, it does nothing.
func (e *forgery) send(data []byte) {
	e.t.Helper()
	page := e.header.Bytes()
	if page == nil {
		return
	}
	sim.Poke(e.ring.Bytes(), func(page []byte) { copy(page[e.sent:], data) })
	e.sent += uint64(len(data))
	e.publish(e.sent)
}

// publish says that so many bytes were sent.
func (e *forgery) publish(producer uint64) {
	e.t.Helper()
	sim.Poke(e.header.Bytes(), func(page []byte) {
		binary.LittleEndian.PutUint64(page[ring.MovingOffset+8:], producer)
		binary.LittleEndian.PutUint64(page[ring.MovingOffset+16:], ^producer)
	})
	if err := e.tx.Notify(); err != nil {
		e.t.Fatal(err)
	}
}

// takeBack revokes and unbinds all, without an event.
func (e *forgery) takeBack() {
	e.t.Helper()
	if err := errors.Join(e.ring.Revoke(), e.header.Revoke(), e.tx.Close(), e.rx.Close()); err != nil {
		e.t.Error(err)
	}
}

// link makes the link of o and e.
func (e *forgery) link(o *link.Offer) *link.Link {
	e.t.Helper()
	e.bind(o.Terms())
	if err := o.Bind(e.terms); err != nil {
		e.t.Fatal(err)
	}
	l, err := o.Link(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { l.Close() })
	return l
}

// foreign grants a page and allocates a port that are for a third domain.
func (e *forgery) foreign() (grant.Ref, xen.Port) {
	e.t.Helper()
	third := e.from.home.Host().Create(sim.DomainConfig{}).ID()
	pages, err1 := e.from.proc.Grants().Share(third, 1, grant.ReadOnly)
	c, err2 := e.from.proc.Events().Unbound(third)
	if err := errors.Join(err1, err2); err != nil {
		e.t.Fatal(err)
	}
	return pages.Refs()[0], c.Port()
}

// put stores a word of a header page.
func put(offset int, v uint32) func([]byte) {
	return func(page []byte) { binary.LittleEndian.PutUint32(page[offset:], v) }
}
