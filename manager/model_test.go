package manager

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"xvsock/manager/policy"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// party is an honest frontend, as far as the manager can see.
type party struct {
	talk    *conversation // nil: it is down
	peers   map[xen.DomID]port1.Peer
	retold  map[xen.DomID]bool
	asked   map[xen.DomID]port1.ConnectReq // without an answer
	inds    []port1.ConnectInd             // not answered
	crossed map[xen.DomID]bool             // it was asked by them since it asked them
	acks    []uint64                       // PEERs not confirmed
	claims  map[xen.DomID]uint64
}

// play is a Manager and honest frontends that act at random.
type play struct {
	*desk
	parties map[xen.DomID]*party
	lastID  uint64
}

var policies = [][]string{
	{},
	{"7 * * allow"},
	{"7 d1 d2 allow", "8 d2 d1 allow", "7 d3 * allow"},
	{"7 d1 * allow", "7,8 * d3 allow", "9 d1 @backend allow"},
	{"* * d1 deny", "* * * allow"},
}

const parties = 4

func newPlay() *play {
	p := &play{desk: newDesk(parties, Budgets{Requests: 1 << 30, Burst: 1 << 30, HalfOpen: 2}), parties: map[xen.DomID]*party{}}
	for id := range xen.DomID(parties) {
		p.parties[id+1] = &party{peers: map[xen.DomID]port1.Peer{}, claims: map[xen.DomID]uint64{}}
	}
	return p
}

// one picks a frontend.
func (p *play) one(t *rapid.T, name string) (xen.DomID, *party) {
	id := xen.DomID(rapid.IntRange(1, parties).Draw(t, name))
	return id, p.parties[id]
}

// up picks a frontend that is up, or skips the action.
func (p *play) up(t *rapid.T) (xen.DomID, *party) {
	id, one := p.one(t, "who")
	if one.talk == nil {
		t.Skip("it is down")
	}
	return id, one
}

// say hands the manager a message of an honest frontend.
func (p *play) say(t *rapid.T, one *party, m interface{ Append([]byte) []byte }) {
	if err := one.talk.hear(m); err != nil {
		t.Fatalf("an honest frontend's %T: %v", m, err)
	}
}

func (p *play) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"policy": func(t *rapid.T) { p.rule(rapid.SampledFrom(policies).Draw(t, "rules")...) },
		"attach": func(t *rapid.T) {
			id, _ := p.one(t, "who")
			// Now and then under a name that is another's, or nobody's.
			p.attach(id, fmt.Sprint("d", rapid.IntRange(1, parties+1).Draw(t, "name")))
		},
		"join": func(t *rapid.T) {
			id, one := p.one(t, "who")
			if one.talk != nil {
				t.Skip("it is up")
			}
			p.hello(id, one)
		},
		"leave": func(t *rapid.T) {
			_, one := p.up(t)
			p.mu.Lock()
			one.talk.leave()
			p.mu.Unlock()
			one.talk = nil
		},
		"request": func(t *rapid.T) {
			_, one := p.up(t)
			to, _ := p.one(t, "to")
			if _, asked := one.asked[to]; asked {
				t.Skip("it has asked")
			}
			p.lastID++
			q := port1.ConnectReq{
				ID: p.lastID, Domain: to, Port: rapid.Uint32Range(7, 8).Draw(t, "port"),
				Attachment: one.peers[to].Attachment, Terms: port1.Terms{Generation: p.lastID},
			}
			one.asked[to] = q
			delete(one.crossed, to)
			p.say(t, one, q)
		},
		"confirm": func(t *rapid.T) {
			_, one := p.up(t)
			if len(one.acks) == 0 {
				t.Skip("nothing to confirm")
			}
			i := rapid.IntRange(0, len(one.acks)-1).Draw(t, "which")
			p.say(t, one, port1.PeerAck{ID: one.acks[i]})
			one.acks = slices.Delete(one.acks, i, i+1)
		},
		"answer": func(t *rapid.T) {
			_, one := p.up(t)
			if len(one.inds) == 0 {
				t.Skip("nothing to answer")
			}
			i := rapid.IntRange(0, len(one.inds)-1).Draw(t, "which")
			p.agree(t, one, i, rapid.SampledFrom([]port1.Result{port1.OK, port1.OK, port1.Refused}).Draw(t, "result"))
		},
		"time out": func(t *rapid.T) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, r := range p.sorted() {
				if rapid.Bool().Draw(t, "this") {
					p.finish(r, port1.TimedOut, port1.Terms{})
				}
			}
		},
		"hello again": func(t *rapid.T) {
			_, one := p.up(t)
			if len(one.asked) > 0 {
				t.Skip("it waits for an answer")
			}
			p.say(t, one, port1.Hello{ID: 9, Links: p.links(one)})
		},
		"take": func(t *rapid.T) {
			id, one := p.up(t)
			p.take(t, id, one)
		},
		"": p.check,
	}
}

// sorted is the pairs that are not quiet, in an order that a run can repeat.
func (p *play) sorted() []*request {
	return slices.SortedFunc(maps.Values(p.pairs), func(a, b *request) int { return int(a.req.ID) - int(b.req.ID) })
}

func (p *play) hello(id xen.DomID, one *party) {
	one.asked, one.crossed = map[xen.DomID]port1.ConnectReq{}, map[xen.DomID]bool{}
	one.retold, one.inds, one.acks = map[xen.DomID]bool{}, nil, nil
	one.talk = p.join(id, p.links(one)...)
}

func (p *play) links(one *party) (links []port1.Live) {
	for to, generation := range one.claims {
		links = append(links, port1.Live{UUID: p.frontends[to].uuid, Generation: generation})
	}
	return links
}

func (p *play) agree(t *rapid.T, one *party, i int, result port1.Result) {
	ind := one.inds[i]
	one.inds = slices.Delete(one.inds, i, i+1)
	a := port1.ConnectAck{ID: ind.ID, Result: result}
	if result == port1.OK {
		a.Terms = port1.Terms{Generation: ind.Terms.Generation}
		one.claims[ind.Domain] = ind.Terms.Generation
	}
	p.say(t, one, a)
}

// take lets a frontend read what the manager has for it, and checks it.
func (p *play) take(t *rapid.T, id xen.DomID, one *party) (any bool) {
	batch, left := one.talk.nextBatch()
	if left {
		t.Fatal("the conversation has ended by itself")
	}
	any = len(batch) > 0
	for len(batch) > 0 {
		h, err := port1.ParseHeader(batch)
		if err != nil {
			t.Fatal(err)
		}
		p.receive(t, id, one, h.Type, batch[:h.Length])
		batch = batch[h.Length:]
	}
	return any
}

func (p *play) receive(t *rapid.T, id xen.DomID, one *party, what port1.Type, msg []byte) {
	allowed := func(src, dst xen.DomID, port uint32) bool {
		return p.frontends[dst] != nil && p.Allowed(src, dst, port)
	}
	switch what {
	case port1.TypePeer:
		m, err := port1.ParsePeer(msg)
		if err != nil {
			t.Fatal(err)
		}
		one.acks = append(one.acks, m.ID)
		one.peers[m.Domain], one.retold[m.Domain] = m, true
		if m.Gone {
			delete(one.peers, m.Domain)
			delete(one.claims, m.Domain)
		}
	case port1.TypeHello:
		for peer := range one.peers {
			if !one.retold[peer] {
				delete(one.peers, peer)
				delete(one.claims, peer)
			}
		}
	case port1.TypeConnectInd:
		m, err := port1.ParseConnectInd(msg)
		if err != nil || !allowed(m.Domain, id, m.Port) || one.peers[m.Domain].Attachment != m.Attachment {
			t.Fatalf("CONNECT_ind %+v: %v", m, err)
		}
		one.inds = append(one.inds, m)
		one.crossed[m.Domain] = true
	case port1.TypeConnectRsp:
		m, err := port1.ParseConnectRsp(msg)
		if err != nil {
			t.Fatal(err)
		}
		p.answered(t, id, one, m, allowed)
	default:
		t.Fatalf("the manager sends %v", what)
	}
}

func (p *play) answered(t *rapid.T, id xen.DomID, one *party, m port1.ConnectRsp, allowed func(src, dst xen.DomID, port uint32) bool) {
	for to, q := range one.asked {
		if q.ID != m.ID {
			continue
		}
		delete(one.asked, to)
		switch {
		case m.Result == port1.OK && !allowed(id, to, q.Port):
			t.Fatal("a link that is not allowed")
		case m.Result == port1.OK && m.Terms.Generation != q.Terms.Generation:
			t.Fatal("another link's answer")
		case m.Result == port1.OK:
			one.claims[to] = q.Terms.Generation
		case m.Result == port1.Crossed && !one.crossed[to]:
			t.Fatal("CROSSED without a CONNECT_ind before")
		}
		return
	}
	t.Fatalf("an answer to nothing: %+v", m)
}

// check is what holds at every time.
func (p *play) check(t *rapid.T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	halfOpen := make(map[*conversation]int)
	for at, r := range p.pairs {
		switch {
		case r.pair != at || r.responder.left || r.initiator.left:
			t.Fatalf("pair %v: %+v", at, r)
		case r.sent != (r.responder.unanswered[r.id] == r), r.sent == slices.Contains(r.responder.indicating, r):
			t.Fatalf("pair %v is not what its responder knows", at)
		}
		halfOpen[r.initiator]++
	}
	for _, f := range p.frontends {
		c := f.talk
		if c == nil {
			continue
		}
		if c.halfOpen != halfOpen[c] || c.halfOpen > p.cfg.Budgets.HalfOpen || cap(c.replies) != maxReplies+p.cfg.Budgets.HalfOpen {
			t.Fatalf("%d half open, counted %d; room for %d replies", halfOpen[c], c.halfOpen, cap(c.replies))
		}
		for id, r := range c.unanswered {
			if r != nil && (p.pairs[r.pair] != r || r.id != id) {
				t.Fatal("an unanswered CONNECT_ind of no pair")
			}
		}
	}
	p.checkTables(t)
}

// checkTables compares the tables with what the rules say, worked out anew.
func (p *play) checkTables(t *rapid.T) {
	carriers := make(map[string]int)
	for _, s := range p.subjects {
		carriers[s.domain.Name]++
	}
	n := 0
	for src, s := range p.subjects {
		if s.domain.Twin != (carriers[s.domain.Name] > 1) {
			t.Fatalf("%v: twin is %v", s.domain, s.domain.Twin)
		}
		for dst, d := range p.subjects {
			if src == dst {
				continue
			}
			want, got := p.set.Table(s.domain, d.domain), p.tables[route{src, dst}]
			if len(want.Ranges) == 0 {
				want = nil
			} else {
				n++
			}
			if !sameTable(got, want) {
				t.Fatalf("from %v to %v: %+v, want %+v", src, dst, got, want)
			}
		}
	}
	for at := range p.tables {
		if at.src == at.dst {
			n++ // this domain as its own frontend
		}
	}
	if n != len(p.tables) {
		t.Fatalf("%d tables, want %d", len(p.tables), n)
	}
}

// settle lets everybody answer everything. Then nobody waits, and all know what they
// are to know.
func (p *play) settle(t *rapid.T) {
	for again := true; again; {
		again = false
		for id, one := range p.parties {
			if one.talk == nil {
				p.hello(id, one)
			}
			again = p.take(t, id, one) || again
			for len(one.inds) > 0 {
				p.agree(t, one, 0, port1.OK)
				again = true
			}
			for _, ack := range one.acks {
				p.say(t, one, port1.PeerAck{ID: ack})
			}
			one.acks = nil
		}
	}
	if len(p.pairs) != 0 {
		t.Fatalf("%d pairs are not quiet", len(p.pairs))
	}
	if _, n := p.Progress(); n != 0 {
		t.Fatalf("%d have not confirmed", n)
	}
	for id, one := range p.parties {
		if len(one.asked) != 0 {
			t.Fatalf("%v waits for answers: %v", id, one.asked)
		}
		for peer := range p.parties {
			out, in := p.tables[route{id, peer}], p.tables[route{peer, id}]
			told, there := one.peers[peer]
			if want := peer != id && (out != nil || in != nil); there != want {
				t.Fatalf("%v knows of %v: %v, want %v", id, peer, there, want)
			}
			if !there {
				continue
			}
			if told.Attachment != p.frontends[peer].attachment || told.Name != p.frontends[peer].who.Name ||
				!says(told.Out, out) || !says(told.In, in) {
				t.Fatalf("%v knows of %v: %+v", id, peer, told)
			}
		}
	}
}

func says(ranges []port1.Range, table *policy.Table) bool {
	if table == nil {
		return len(ranges) == 0
	}
	return slices.EqualFunc(ranges, table.Ranges, func(a port1.Range, b policy.Range) bool {
		return a.First == b.First && a.Last == b.Last && a.Rule == b.Rule.ID
	})
}

// With honest frontends that come, go and are slow in every way, and a policy that
// changes, nobody is ever taken for a forger, nobody waits for ever, and nothing is
// brokered that is not allowed.
func TestHonestFrontendsInEveryOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlay()
		t.Repeat(p.actions())
		p.settle(t)
		p.check(t)
	})
}
