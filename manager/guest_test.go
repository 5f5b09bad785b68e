package manager_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

// guest is a frontend's daemon that speaks on port 1 as the test says, and else as
// it should: it says HELLO, confirms every PEER and agrees to every CONNECT_ind.
type guest struct {
	t   *testing.T
	dom *sim.Domain
	*front

	// What it does not do.
	silent     bool // say HELLO
	unanswered bool // answer CONNECT_ind
	deaf       bool // read
	agree      func(port1.ConnectInd) port1.ConnectAck

	mu     sync.Mutex
	claims []port1.Live
	mute   bool // does not confirm PEERs
	talks  chan *talk
	peers  map[xen.DomID]port1.Peer
	news   []port1.Peer // as they came
	lastID uint64
	last   *talk
}

// talk is one conversation of a guest.
type talk struct {
	g    *guest
	link *link.Link
	conn *vsock.Conn
	msgs *port1.Conn

	write sync.Mutex
	hello chan struct{} // closed with the manager's HELLO
	inds  chan port1.ConnectInd
	rsps  chan port1.ConnectRsp
}

func newGuest(t *testing.T, dom *sim.Domain) *guest {
	g := &guest{t: t, dom: dom, talks: make(chan *talk, 100), peers: make(map[xen.DomID]port1.Peer)}
	g.agree = func(i port1.ConnectInd) port1.ConnectAck {
		return port1.ConnectAck{ID: i.ID, Terms: port1.Terms{Generation: i.Terms.Generation, Header: 7, Events: 8}}
	}
	return g
}

// guest makes a domain that is attached under a name, and a guest in it.
func (r *rig) guest(name string, change ...func(*guest)) *guest {
	r.t.Helper()
	return r.guestIn(r.create(name), change...)
}

// guestIn starts a guest in dom.
func (r *rig) guestIn(dom *sim.Domain, change ...func(*guest)) *guest {
	g := newGuest(r.t, dom)
	for _, c := range change {
		c(g)
	}
	g.front = r.frontend(dom, g.meet)
	return g
}

// meet is the guest's side of port 1.
func (g *guest) meet(ctx context.Context, s *vsock.Stack, l *link.Link) {
	conn, err := dialManager(ctx, s, l)
	if err != nil {
		l.End(link.Lost, err)
		return
	}
	t := &talk{
		g: g, link: l, conn: conn, msgs: port1.NewConn(conn), hello: make(chan struct{}),
		inds: make(chan port1.ConnectInd, 1000), rsps: make(chan port1.ConnectRsp, 1000),
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	g.mu.Lock()
	g.last = t
	g.mu.Unlock()
	g.talks <- t
	if !g.silent {
		g.mu.Lock()
		claims := slices.Clone(g.claims)
		g.mu.Unlock()
		t.send(port1.Hello{ID: 1, Links: claims})
	}
	for !g.deaf && t.next() == nil {
	}
	<-ctx.Done()
}

// next takes a message.
func (t *talk) next() error {
	h, msg, err := t.msgs.Read()
	if err != nil {
		t.link.End(link.Lost, err)
		return err
	}
	g := t.g
	switch h.Type {
	case port1.TypePeer:
		p, err := port1.ParsePeer(msg)
		if err != nil {
			return g.bad(err)
		}
		g.mu.Lock()
		g.peers[p.Domain] = p
		if p.Gone {
			delete(g.peers, p.Domain)
		}
		g.news = append(g.news, p)
		mute := g.mute
		g.mu.Unlock()
		if !mute {
			t.send(port1.PeerAck{ID: p.ID})
		}
	case port1.TypeHello:
		if _, err := port1.ParseHello(msg); err != nil {
			return g.bad(err)
		}
		close(t.hello)
	case port1.TypeConnectInd:
		i, err := port1.ParseConnectInd(msg)
		if err != nil {
			return g.bad(err)
		}
		t.inds <- i
		if !g.unanswered {
			t.send(g.agree(i))
		}
	case port1.TypeConnectRsp:
		a, err := port1.ParseConnectRsp(msg)
		if err != nil {
			return g.bad(err)
		}
		select {
		case t.rsps <- a:
		default: // a flooder does not look at them
		}
	default:
		return g.bad(fmt.Errorf("the manager sends %v", h.Type))
	}
	return nil
}

// bad fails the test for what the manager sent.
func (g *guest) bad(err error) error {
	g.t.Errorf("guest %v: %v", g.dom.ID(), err)
	return err
}

// send sends a message. That it does not arrive is not the test's business.
func (t *talk) send(m interface{ Append([]byte) []byte }) {
	t.write.Lock()
	defer t.write.Unlock()
	_ = t.msgs.Write(m.Append(nil))
}

// up returns the guest's next conversation, once it is told all.
func (g *guest) up() *talk {
	g.t.Helper()
	t := g.begun()
	select {
	case <-t.hello:
	case <-time.After(10 * time.Second):
		g.t.Fatal("no HELLO from the manager")
	}
	return t
}

// begun returns the guest's next conversation.
func (g *guest) begun() *talk {
	g.t.Helper()
	select {
	case t := <-g.talks:
		return t
	case <-time.After(2 * time.Minute):
		g.t.Fatal("no conversation")
		return nil
	}
}

// knows lists what the guest knows of its peers: the name, "<" for what the peer may
// reach here, ">" for what may be reached there.
func (g *guest) knows() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for _, id := range slices.Sorted(maps.Keys(g.peers)) {
		p := g.peers[id]
		all = append(all, p.Name+ranges(" <", p.In)+ranges(" >", p.Out))
	}
	return strings.Join(all, ", ")
}

func ranges(sign string, all []port1.Range) string {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintf(&b, "%s%d-%d", sign, r.First, r.Last)
	}
	return b.String()
}

// request returns a request for a link to another guest, as the guest knows it.
func (g *guest) request(to xen.DomID, port uint32) port1.ConnectReq {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastID++
	return port1.ConnectReq{
		ID: g.lastID, Domain: to, Attachment: g.peers[to].Attachment, Port: port,
		Terms: port1.Terms{Generation: uint64(g.dom.ID())<<32 + g.lastID, Header: 5, Events: 6},
	}
}

// connect asks for a link and returns the answer.
func (t *talk) connect(to *guest, port uint32) port1.ConnectRsp {
	t.g.t.Helper()
	q := t.g.request(to.dom.ID(), port)
	t.send(q)
	return t.answer(q.ID)
}

// answer waits for the answer to a request.
func (t *talk) answer(id uint64) port1.ConnectRsp {
	t.g.t.Helper()
	select {
	case a := <-t.rsps:
		if a.ID != id {
			t.g.t.Errorf("answer to request %d, want to %d", a.ID, id)
		}
		return a
	case <-t.link.Done():
		t.g.t.Errorf("no answer: %v", t.link.Err())
	case <-time.After(10 * time.Second):
		t.g.t.Error("no answer")
	}
	return port1.ConnectRsp{Result: 99}
}

// indicated waits for a CONNECT_ind.
func (t *talk) indicated() port1.ConnectInd {
	t.g.t.Helper()
	select {
	case i := <-t.inds:
		return i
	case <-time.After(10 * time.Second):
		t.g.t.Fatal("no CONNECT_ind")
		return port1.ConnectInd{}
	}
}

// ends waits until the conversation's link has ended at the manager's will, and
// checks why the manager's end did.
func (r *rig) ends(t *talk, reason string, want link.Cause) {
	r.t.Helper()
	cause(r.t, t.link, 10*time.Second)
	begin := time.Now()
	if _, err := waitTalk(t.g, time.Minute); err != nil {
		r.t.Errorf("%s: %v", reason, err)
		return
	}
	again := time.Since(begin)
	if broken := again > 25*time.Second; broken != (want == link.Broken) {
		r.t.Errorf("%s: the link formed again after %v, want it %v", reason, again, want)
	}
}

func waitTalk(g *guest, within time.Duration) (*talk, error) {
	select {
	case t := <-g.talks:
		return t, nil
	case <-time.After(within):
		return nil, errors.New("no conversation again")
	}
}

// dialManager connects to the manager: until l's connections are run there is no way
// to it.
func dialManager(ctx context.Context, s *vsock.Stack, l *link.Link) (*vsock.Conn, error) {
	for {
		c, err := s.DialPrivileged(ctx, port1Addr)
		if !errors.Is(err, syscall.EHOSTUNREACH) || l.Err() != nil || ctx.Err() != nil {
			return c, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var port1Addr = vsock.Addr{CID: vsock.CIDBackend, Port: vsock.PortManager}

func domid(n uint32) xen.DomID { return xen.DomID(n) }
