package client_test

import (
	"sync"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/xen"
)

// broker is the least that an honest manager does. Everybody may reach everybody on
// the ports that it was made with.
type broker struct {
	t     *testing.T
	allow []port1.Range

	mu      sync.Mutex
	fronts  map[xen.DomID]*script
	pending map[uint64]*pending // by the id of the CONNECT_ind
	lastID  uint64
	hold    func(m any) bool // true: it swallows the message
}

// pending is a request that the responder has not answered.
type pending struct {
	from, to xen.DomID
	id       uint64 // the initiator's
}

func newBroker(t *testing.T, first, last uint32) *broker {
	return &broker{
		t: t, allow: ports(first, last), fronts: make(map[xen.DomID]*script), pending: make(map[uint64]*pending),
	}
}

// meet lets n join, and tells it and the others of each other.
func (b *broker) meet(n *node) *script {
	b.t.Helper()
	s := n.join()
	b.mu.Lock()
	for id, other := range b.fronts {
		s.send(b.record(id))
		other.send(b.record(n.id()))
	}
	b.fronts[n.id()] = s
	b.mu.Unlock()
	s.complete()
	s.ends.Go(func() {
		for m := range s.in {
			b.take(n.id(), m)
		}
		b.leave(n.id(), s)
	})
	return s
}

// record is the PEER of domain id. mu is held.
func (b *broker) record(id xen.DomID) port1.Peer {
	b.lastID++
	p := record(id, b.allow, b.allow)
	p.ID = b.lastID
	return p
}

// leave ends what a frontend has pending whose link has ended.
func (b *broker) leave(id xen.DomID, s *script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fronts[id] == s {
		delete(b.fronts, id)
	}
	for ind, p := range b.pending {
		if p.to == id {
			b.answer(p, port1.ConnectRsp{Result: port1.ShuttingDown})
		}
		if p.to == id || p.from == id {
			delete(b.pending, ind)
		}
	}
}

// answer sends CONNECT_rsp. mu is held.
func (b *broker) answer(p *pending, m port1.ConnectRsp) {
	m.ID = p.id
	if s := b.fronts[p.from]; s != nil {
		s.write.Write(m.Append(nil)) // which may have ended
	}
}

// take does what a message of domain id asks for.
func (b *broker) take(id xen.DomID, m any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hold == nil || !b.hold(m) {
		b.handle(id, m)
	}
}

// handle is take with mu held.
func (b *broker) handle(id xen.DomID, m any) {
	switch m := m.(type) {
	case port1.ConnectReq:
		to, p := b.fronts[m.Domain], &pending{from: id, to: m.Domain, id: m.ID}
		if to == nil {
			b.answer(p, port1.ConnectRsp{Result: port1.Unreachable})
			return
		}
		for _, other := range b.pending {
			if other.from == m.Domain && other.to == id {
				b.answer(p, port1.ConnectRsp{Result: port1.Crossed})
				return
			}
		}
		b.lastID++
		b.pending[b.lastID] = p
		to.write.Write(port1.ConnectInd{
			ID: b.lastID, Domain: id, Attachment: attachment(id, 1), Port: m.Port, Terms: m.Terms,
		}.Append(nil))
	case port1.ConnectAck:
		if p := b.pending[m.ID]; p != nil {
			delete(b.pending, m.ID)
			b.answer(p, port1.ConnectRsp{Result: m.Result, Terms: m.Terms})
		}
	}
}

// two are two frontends of a broker that lets them reach each other's ports 7 to 9.
type two struct {
	b      *broker
	x, y   *node
	sx, sy *script
}

func newTwo(t *testing.T, h *sim.Host) *two {
	t.Helper()
	w := &two{b: newBroker(t, 7, 9)}
	w.x, w.y = newNode(t, h.Create(sim.DomainConfig{Name: "x"})), newNode(t, h.Create(sim.DomainConfig{Name: "y"}))
	w.y.echo(7)
	w.x.echo(8)
	w.sx, w.sy = w.b.meet(w.x), w.b.meet(w.y)
	w.x.await(w.y.id(), "idle", time.Second)
	w.y.await(w.x.id(), "idle", time.Second)
	return w
}

// swallow has the broker lose every message for which f is true.
func (b *broker) swallow(f func(m any) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hold = f
}

// linkPages and linkPorts are what each side of a peer link holds.
const (
	linkPages = 1 + link.DefaultRingSize/xen.PageSize
	linkPorts = 2
)
