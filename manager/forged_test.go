package manager_test

import (
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
)

// raw is bytes that are sent as they are.
type raw []byte

func (r raw) Append(b []byte) []byte { return append(b, r...) }

// Messages that no honest frontend sends end the link of who sent them as BROKEN,
// and nobody else notices (rules R5, R8, R10; hostile behaviour 22).
func TestAForgerLosesItsLinkAlone(t *testing.T) {
	// Before the forgery, a has a request to b pending, which b was asked for, and b
	// one to c; evil is the one that sends, with what it could have learnt.
	type state struct {
		a, b, c  *talk
		toB, toC port1.ConnectReq
		atB, atC port1.ConnectInd
	}
	for name, c := range map[string]struct {
		by func(s *state) *talk
		do func(s *state, evil *talk)
	}{
		"a HELLO cut short": {do: func(_ *state, e *talk) {
			m := port1.Hello{ID: 3, Links: make([]port1.Live, 1)}.Append(nil)
			m[16] = 2
			e.send(raw(m))
		}},
		"a message of another version": {do: func(_ *state, e *talk) {
			m := port1.PeerAck{ID: 3}.Append(nil)
			m[6] = 2
			e.send(raw(m))
		}},
		"PEER, which is the manager's": {do: func(s *state, e *talk) {
			e.send(port1.Peer{ID: 3, Domain: s.a.g.dom.ID(), Gone: true})
		}},
		"CONNECT_ind, which is the manager's": {do: func(s *state, e *talk) { e.send(s.atB) }},
		"CONNECT_rsp, which is the manager's": {do: func(s *state, e *talk) {
			e.send(port1.ConnectRsp{ID: s.atB.ID, Terms: s.atB.Terms})
		}},
		"PEER_ack that nobody waits for": {do: func(_ *state, e *talk) { e.send(port1.PeerAck{ID: 12345}) }},
		"PEER_ack twice": {do: func(s *state, e *talk) {
			e.send(port1.PeerAck{ID: e.g.news[0].ID})
		}},
		"PEER_ack to another one's PEER": {do: func(s *state, e *talk) {
			e.send(port1.PeerAck{ID: s.a.g.news[0].ID})
		}},
		"CONNECT_ack that nobody waits for":        {do: func(_ *state, e *talk) { e.send(port1.ConnectAck{ID: 12345}) }},
		"CONNECT_ack to another one's CONNECT_ind": {do: func(s *state, e *talk) { e.send(e.g.agree(s.atB)) }},
		"CONNECT_ack by the initiator": {by: func(s *state) *talk { return s.a },
			do: func(s *state, e *talk) { e.send(e.g.agree(s.atB)) }},
		"CONNECT_ack with the initiator's id": {by: func(s *state) *talk { return s.b },
			do: func(s *state, e *talk) {
				a := e.g.agree(s.atB)
				a.ID = s.toB.ID
				e.send(a)
			}},
		"CONNECT_ack twice": {by: func(s *state) *talk { return s.b },
			do: func(s *state, e *talk) {
				e.send(e.g.agree(s.atB))
				e.send(e.g.agree(s.atB))
			}},
		"CONNECT_ack of another generation": {by: func(s *state) *talk { return s.b },
			do: func(s *state, e *talk) {
				a := e.g.agree(s.atB)
				a.Terms.Generation++
				e.send(a)
			}},
		"CONNECT_ack of more access than was asked for": {by: func(s *state) *talk { return s.b },
			do: func(s *state, e *talk) {
				a := e.g.agree(s.atB)
				a.Terms.Access = port1.AccessMap
				e.send(a)
			}},
		"CONNECT_ack with a result that is the manager's": {by: func(s *state) *talk { return s.b },
			do: func(s *state, e *talk) { e.send(port1.ConnectAck{ID: s.atB.ID, Result: port1.Crossed}) }},
		"a second CONNECT_req to the same peer": {by: func(s *state) *talk { return s.a },
			do: func(s *state, e *talk) { e.send(s.toB) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				var s state
				s.a, s.b, s.c = r.trio(func(g *guest) { g.unanswered = true })
				evil := r.guest("evil").up()
				d, e := r.guest("d").up(), r.guest("e").up()
				time.Sleep(time.Second)
				s.toB, s.toC = s.a.g.request(s.b.g.dom.ID(), 7), s.b.g.request(s.c.g.dom.ID(), 7)
				s.a.send(s.toB)
				s.b.send(s.toC)
				s.atB, s.atC = s.b.indicated(), s.c.indicated()
				if c.by != nil {
					evil = c.by(&s)
				}
				c.do(&s, evil)
				r.ends(evil, name, link.Broken)
				for _, honest := range []*talk{s.a, s.b, s.c, d, e} {
					if honest != evil && honest.link.Err() != nil {
						t.Errorf("the link of %v has ended: %v", honest.g.dom.ID(), honest.link.Err())
					}
				}
				r.linked(d, e)
			})
		})
	}
}

func TestAMessageBeforeHelloIsForged(t *testing.T) {
	for name, m := range map[string]interface{ Append([]byte) []byte }{
		"CONNECT_req": port1.ConnectReq{ID: 1, Domain: 2, Port: 7},
		"CONNECT_ack": port1.ConnectAck{ID: 1},
		"PEER_ack":    port1.PeerAck{ID: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, true)
				talk := r.guest("evil", func(g *guest) { g.silent = true }).begun()
				talk.send(m)
				r.ends(talk, name, link.Broken)
			})
		})
	}
}

// A pending request of a forger's is answered to the others.
func TestTheForgersRequestsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, true)
		a, b, _ := r.trio(func(g *guest) { g.unanswered = true })
		q := a.g.request(b.g.dom.ID(), 7)
		a.send(q)
		ind := b.indicated()
		evil := b.g.agree(ind)
		evil.Terms.Generation++
		b.send(evil)
		if got := a.answer(q.ID); got != (port1.ConnectRsp{ID: q.ID, Result: port1.Refused}) {
			t.Errorf("answer is %+v", got)
		}
	})
}
