package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/sim"
)

// walk is a conversation in which the manager, the other domain and the programs of
// this one do what they like, as long as no message is a lie.
type walk struct {
	t      *testing.T
	n      *node
	s      *script
	o      *other
	record port1.Peer // as told last

	lastID uint64
	req    *port1.ConnectReq // not answered yet
	inds   map[uint64]bool   // not answered yet
	told   map[uint64]bool   // not confirmed yet
	ack    *port1.ConnectAck // to be bound
	dials  []*dialing
}

// steps are what can happen next.
var steps = []func(w *walk){
	func(w *walk) { w.dial() },
	func(w *walk) { w.tell(w.record) },
	func(w *walk) { w.tell(port1.Peer{Domain: w.o.dom.ID(), Gone: true}) },
	func(w *walk) { w.record.UUID[9]++; w.tell(w.record) },
	func(w *walk) { w.answer(port1.ConnectRsp{Result: port1.TimedOut}) },
	func(w *walk) { w.answer(port1.ConnectRsp{Result: port1.Crossed}) },
	func(w *walk) { w.answer(port1.ConnectRsp{Terms: port1.Terms{Header: 4000}}) },
	func(w *walk) { w.agree() },
	func(w *walk) { w.indicate(0) },
	func(w *walk) { w.indicate(1) },
	func(w *walk) { w.bind() },
	func(*walk) { time.Sleep(time.Second) },
	func(*walk) { time.Sleep(9 * time.Second) },
	func(w *walk) { w.s.die(); w.meet() },
}

// The Client keeps to the protocol whatever order things happen in: one request a
// peer, one answer to an indication, one confirmation of a record, no HELLO while a
// request is open; and in the end nothing is left.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		order := rapid.SliceOfN(rapid.IntRange(0, len(steps)-1), 1, 60).Draw(rt, "steps")
		ok := true
		bubble(t, func(t *testing.T, h *sim.Host) {
			w := &walk{t: t, o: newOther(t, h), n: newX(t, h)}
			w.record = open(w.o.dom.ID())
			w.meet()
			w.tell(w.record)
			for _, i := range order {
				steps[i](w)
				w.check()
			}
			w.end()
			ok = !t.Failed()
		})
		if !ok {
			rt.Fatalf("steps: %v", order)
		}
	})
}

// meet begins a conversation.
func (w *walk) meet() {
	w.s = w.n.join()
	w.req, w.ack, w.inds, w.told = nil, nil, make(map[uint64]bool), make(map[uint64]bool)
	w.s.complete()
}

func (w *walk) id() uint64 {
	w.lastID++
	return w.lastID
}

func (w *walk) dial() {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	w.t.Cleanup(cancel)
	w.dials = append(w.dials, w.n.dialCtx(ctx, w.o.dom.ID(), 7))
}

func (w *walk) tell(p port1.Peer) {
	p.ID = w.id()
	w.told[p.ID] = true
	w.s.send(p)
}

func (w *walk) answer(m port1.ConnectRsp) {
	if w.req != nil {
		m.ID, w.req = w.req.ID, nil
		w.s.send(m)
	}
}

// agree answers a request with a half of a link.
func (w *walk) agree() {
	if w.req == nil {
		return
	}
	w.o.request(w.n, 0)
	theirs := w.req.Terms
	if w.o.offer.Adopt(theirs.Generation) != nil ||
		w.o.offer.Bind(link.Terms{Generation: theirs.Generation, Header: theirs.Header, Port: theirs.Events}) != nil {
		return // what was offered is gone by now
	}
	terms := w.o.offer.Terms()
	w.answer(port1.ConnectRsp{Terms: port1.Terms{Generation: terms.Generation, Header: terms.Header, Events: terms.Port}})
	w.link()
}

// link lets the other side have its end, if this one gets so far.
func (w *walk) link() {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	if l, err := w.o.offer.Link(ctx); err == nil {
		w.t.Cleanup(func() { l.Close() })
	}
}

func (w *walk) indicate(attachment byte) {
	m := w.o.request(w.n, w.id())
	m.Attachment[2] += attachment
	w.inds[m.ID] = true
	w.s.send(m)
}

// bind takes up the last answer.
func (w *walk) bind() {
	if a := w.ack; a != nil {
		w.ack = nil
		if w.o.offer != nil && w.o.offer.Bind(link.Terms{
			Generation: a.Terms.Generation, Header: a.Terms.Header, Port: a.Terms.Events,
		}) == nil {
			w.link()
		}
	}
}

// check takes what the Client has said.
func (w *walk) check() {
	w.t.Helper()
	synctest.Wait()
	if cause := link.CauseOf(w.s.front.Err()); w.s.front.Err() != nil && cause == link.Broken {
		w.t.Fatalf("the front link: %v", w.s.front.Err())
	}
	if w.s.front.Err() != nil { // no answer to a request
		w.s.die()
		w.meet()
	}
	for {
		var m any
		select {
		case m = <-w.s.in:
		default:
			return
		}
		switch m := m.(type) {
		case port1.ConnectReq:
			if w.req != nil {
				w.t.Error("a second request")
			}
			w.req = &m
		case port1.ConnectAck:
			if !w.inds[m.ID] {
				w.t.Errorf("answer to indication %d", m.ID)
			}
			delete(w.inds, m.ID)
			if m.Result == port1.OK {
				w.ack = &m
			}
		case port1.PeerAck:
			if !w.told[m.ID] {
				w.t.Errorf("confirmation of record %d", m.ID)
			}
			delete(w.told, m.ID)
		case port1.Hello:
			if w.req != nil {
				w.t.Error("HELLO while a request is open")
			}
		}
	}
}

// end stops everything and looks what is left.
func (w *walk) end() {
	time.Sleep(time.Second)
	w.check()
	if len(w.told) > 0 {
		w.t.Errorf("not confirmed: %v", w.told)
	}
	w.n.stop()
	for _, d := range w.dials {
		<-d.done
	}
	w.n.holds(0, 0)
}
