package client_test

import (
	"context"
	"testing"
	"time"

	"xvsock/grant"
	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/xen"
)

// other is the initiator in the scripts: a domain with a half of a link, and no
// Client.
type other struct {
	t     *testing.T
	dom   *sim.Domain
	proc  *sim.Process
	link  *link.Domain
	offer *link.Offer
	opt   link.Options
}

func newOther(t *testing.T, h *sim.Host) *other {
	o := &other{t: t, dom: h.Create(sim.DomainConfig{Name: "other"})}
	o.proc = o.dom.NewProcess()
	o.link = link.NewDomain(o.dom.ID(), o.proc.Grants(), o.proc.Events(), nil)
	o.opt.Ledger = link.NewLedger()
	t.Cleanup(o.release)
	return o
}

// request makes an offer to n and returns the CONNECT_ind of it.
func (o *other) request(n *node, id uint64) port1.ConnectInd {
	o.t.Helper()
	o.release()
	var err error
	if o.offer, err = link.NewOffer(o.link, n.id(), o.opt); err != nil {
		o.t.Fatal(err)
	}
	terms := o.offer.Terms()
	return port1.ConnectInd{
		ID: id, Domain: o.dom.ID(), Attachment: attachment(o.dom.ID(), 1), Port: 7,
		Terms: port1.Terms{Generation: terms.Generation, Header: terms.Header, Events: terms.Port},
	}
}

func (o *other) release() {
	if o.offer != nil {
		o.offer.Release()
		o.offer = nil
	}
}

// take takes up what n has answered.
func (o *other) take(ack port1.ConnectAck) {
	o.t.Helper()
	if ack.Result != port1.OK {
		o.t.Fatalf("the answer is %v", ack.Result)
	}
	err := o.offer.Bind(link.Terms{Generation: ack.Terms.Generation, Header: ack.Terms.Header, Port: ack.Terms.Events})
	if err != nil {
		o.t.Fatal(err)
	}
}

// bind takes up what n has answered, and returns the link.
func (o *other) bind(ack port1.ConnectAck) *link.Link {
	o.t.Helper()
	o.take(ack)
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Second)
	defer cancel()
	l, err := o.offer.Link(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { l.Close() })
	return l
}

// accepting is a frontend that was told of another domain.
func accepting(t *testing.T, h *sim.Host, cfg client.Config) (*node, *script, *other) {
	// As the daemon has it: enough pages for all links that there may be.
	n := newNodeWith(t, h.Create(sim.DomainConfig{Name: "x", GrantLimit: grant.TableEntries}), cfg)
	o := newOther(t, h)
	s := n.join()
	s.tell(open(o.dom.ID()))
	s.complete()
	return n, s, o
}

func TestAnIndicationIsAnsweredWithALink(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		s.send(o.request(n, 5))
		ack := next[port1.ConnectAck](s)
		if ack.ID != 5 {
			t.Errorf("the answer has id %d", ack.ID)
		}
		n.await(o.dom.ID(), "accepting", 0)
		l := o.bind(ack)
		n.await(o.dom.ID(), "up", time.Second)
		if p := n.client.Peers()[0]; p.Generation != l.Generation() || p.Serial == 0 {
			t.Errorf("status: %+v", p)
		}
		if m := next[port1.Hello](s); len(m.Links) != 1 || m.Links[0].Generation != l.Generation() {
			t.Errorf("HELLO: %+v", m)
		}
	})
}

func TestIndicationsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *port1.ConnectInd)
		want   port1.Result
	}{
		"an unknown domain":        {func(m *port1.ConnectInd) { m.Domain++ }, port1.Denied},
		"another attachment":       {func(m *port1.ConnectInd) { m.Attachment[2]++ }, port1.Denied},
		"a port that is not open":  {func(m *port1.ConnectInd) { m.Port = 1 }, port1.Denied},
		"a header that is not":     {func(m *port1.ConnectInd) { m.Terms.Header = 4000 }, port1.Refused},
		"a port that is not there": {func(m *port1.ConnectInd) { m.Terms.Events = 4000 }, port1.Refused},
		"another generation":       {func(m *port1.ConnectInd) { m.Terms.Generation++ }, port1.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				m := o.request(n, 5)
				c.change(&m)
				s.send(m)
				if ack := next[port1.ConnectAck](s); ack.ID != 5 || ack.Result != c.want {
					t.Errorf("the answer is %+v, want %v", ack, c.want)
				}
				n.holds(0, 0)
				if s.front.Err() != nil {
					t.Errorf("front link: %v", s.front.Err())
				}
			})
		})
	}
}

// What can happen between the answer and the event that the initiator has bound:
// nothing stays behind, and the front link has nothing to do with it.
func TestAnAcceptThatComesToNothing(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(n *node, s *script, o *other)
		within time.Duration
	}{
		"the initiator never binds":      {func(*node, *script, *other) {}, 9 * time.Second},
		"the initiator's process dies":   {func(_ *node, _ *script, o *other) { o.proc.Kill() }, 9 * time.Second},
		"the initiator's domain is gone": {func(_ *node, _ *script, o *other) { o.dom.Destroy() }, 9 * time.Second},
		"the manager dies":               {func(_ *node, s *script, _ *other) { s.die() }, 9 * time.Second},
		"the manager says it is gone": {func(_ *node, s *script, o *other) {
			s.tell(port1.Peer{Domain: o.dom.ID(), Gone: true})
		}, 0},
		"another domain has the id": {func(_ *node, s *script, o *other) {
			p := open(o.dom.ID())
			p.UUID[3] = 9
			s.tell(p)
		}, 0},
		"the Client is closed": {func(n *node, _ *script, _ *other) { n.client.Close() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				s.send(o.request(n, 5))
				next[port1.ConnectAck](s)
				n.holds(linkPages, linkPorts)
				c.do(n, s, o)
				time.Sleep(c.within)
				n.holds(0, 0)
			})
		})
	}
}

// The initiator has failed and asks again: what was accepted before is given up.
func TestANewIndicationTakesThePlaceOfTheOld(t *testing.T) {
	for name, up := range map[string]bool{"while accepting": false, "while the link is up": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *sim.Host) {
				n, s, o := accepting(t, h, client.Config{})
				id := o.dom.ID()
				s.send(o.request(n, 5))
				ack := next[port1.ConnectAck](s)
				var old *link.Link
				if up {
					old = o.bind(ack)
					n.await(id, "up", time.Second)
				}
				begin := time.Now()
				s.send(o.request(n, 6))
				ack = next[port1.ConnectAck](s)
				if ack.ID != 6 || time.Since(begin) > time.Second {
					t.Fatalf("the answer is to %d, after %v", ack.ID, time.Since(begin))
				}
				n.holds(linkPages, linkPorts)
				l := o.bind(ack)
				n.await(id, "up", time.Second)
				if old != nil {
					old.Close()
				}
				if p := n.client.Peers()[0]; p.Generation != l.Generation() {
					t.Errorf("status: %+v", p)
				}
			})
		})
	}
}

// Two domains cannot have a third one make links without end: five at once, and one
// each 5 s.
func TestAFloodOfIndicationsIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		count := func(times int) (ok int) {
			for i := range times {
				s.send(o.request(n, uint64(i)))
				if next[port1.ConnectAck](s).Result == port1.OK {
					ok++
				}
			}
			return ok
		}
		if ok := count(50); ok != 5 {
			t.Errorf("%d links at once", ok)
		}
		// What was refused has run up no debt.
		time.Sleep(6 * time.Second)
		if ok := count(1); ok != 1 {
			t.Error("none after 6 s")
		}
		// One that comes a little too soon waits.
		time.Sleep(3500 * time.Millisecond)
		begin := time.Now()
		if ok := count(1); ok != 1 || time.Since(begin) == 0 || time.Since(begin) > 2*time.Second {
			t.Errorf("%d after another %v", ok, time.Since(begin))
		}
		time.Sleep(9 * time.Second)
		n.holds(0, 0)
	})
}

// What others ask for does not count as what this side asks for, so that a domain of
// many clients can have more of them.
func TestLinksAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{MaxLinks: 1})
		second := newOther(t, h)
		s.tell(open(second.dom.ID()), open(78), open(79))
		for _, o := range []*other{o, second} {
			s.send(o.request(n, 5))
			if ack := next[port1.ConnectAck](s); ack.Result != port1.OK {
				t.Errorf("the answer is %v", ack.Result)
			}
		}
		n.dial(78, 7)
		req := next[port1.ConnectReq](s)
		n.dial(79, 7).fails(errNoBufs)
		s.send(port1.ConnectRsp{ID: req.ID, Result: port1.Denied})
		time.Sleep(time.Second)
		n.dial(79, 7)
		next[port1.ConnectReq](s) // in its place
	})
}

// A ring as the record has it, and the other side's no larger.
func TestRingsAreAsTheRecordHasThem(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		o.opt.RingSize = 256 << 10
		s.send(o.request(n, 5))
		if ack := next[port1.ConnectAck](s); ack.Result != port1.Refused {
			t.Fatalf("a ring that is too large is answered %v", ack.Result)
		}
		time.Sleep(31 * time.Second)
		p := open(o.dom.ID())
		p.Ring = 256 << 10
		s.tell(p)
		s.send(o.request(n, 6))
		o.bind(next[port1.ConnectAck](s))
		n.holds(1+p64/xen.PageSize, linkPorts)
	})
}

const p64 = 256 << 10

// As many as stand in a HELLO, whoever asked for them.
func TestAllLinksAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T, h *sim.Host) {
		n, s, o := accepting(t, h, client.Config{})
		for range port1.MaxLinks - 1 {
			client := newOther(t, h)
			s.tell(open(client.dom.ID()))
			s.send(client.request(n, 5))
			if ack := next[port1.ConnectAck](s); ack.Result != port1.OK {
				t.Fatalf("the answer is %v", ack.Result)
			}
		}
		s.tell(open(peerID + 1000))
		n.dial(peerID+1000, 7)
		req := next[port1.ConnectReq](s)
		s.send(o.request(n, 6))
		if ack := next[port1.ConnectAck](s); ack.Result != port1.Refused {
			t.Errorf("one more is answered %v", ack.Result)
		}
		s.send(port1.ConnectRsp{ID: req.ID, Result: port1.Denied})
		time.Sleep(time.Millisecond)
		s.send(o.request(n, 7))
		if ack := next[port1.ConnectAck](s); ack.Result != port1.OK {
			t.Errorf("in its place one is answered %v", ack.Result)
		}
		n.dial(peerID+1000, 7).fails(errNoBufs)
	})
}
