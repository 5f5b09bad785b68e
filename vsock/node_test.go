package vsock_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// roomy is a configuration whose memory bounds no test but those about memory.
var roomy = vsock.Config{Memory: 1 << 30, PeerMemory: 1 << 28}

// node is a process of a domain with a Stack and the halves of front links below
// it.
type node struct {
	tb     testing.TB
	domain *link.Domain
	stack  *vsock.Stack
	proc   *sim.Process // nil on real Xen

	cancel context.CancelFunc
	ctx    context.Context
	halves sync.WaitGroup
	links  chan *link.Link // every link that formed
	once   sync.Once
}

// newNode starts a process in dom. It is stopped, in order, at the test's end.
func newNode(tb testing.TB, dom *sim.Domain, cfg vsock.Config) *node {
	p := dom.NewProcess()
	store := p.Xenstore()
	d := link.NewDomain(dom.ID(), p.Grants(), p.Events(), store)
	n := newNodeOn(tb, d, cfg)
	n.proc = p
	tb.Cleanup(func() {
		n.stop()
		store.Close()
	})
	return n
}

// newNodeOn is newNode on any platform; the caller closes it.
func newNodeOn(tb testing.TB, d *link.Domain, cfg vsock.Config) *node {
	cfg.Self = d.ID()
	n := &node{tb: tb, domain: d, stack: vsock.NewStack(cfg), links: make(chan *link.Link, 100)}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// dom is the node's domain.
func (n *node) dom() *sim.Domain { return n.proc.Domain() }

// kill ends the process as SIGKILL does.
func (n *node) kill() {
	n.proc.Kill()
	n.stop()
}

// serve returns what a half does with its links.
func (n *node) serve(kind vsock.Kind) link.Use {
	return func(_ context.Context, l *link.Link) error {
		n.links <- l
		return n.stack.Serve(l, kind, nil)
	}
}

// front runs the frontend's half.
func (n *node) front() *node { return n.frontWith(n.serve(vsock.ToBackend)) }

// frontWith runs the frontend's half with something else than the Stack above.
func (n *node) frontWith(use link.Use) *node {
	n.halves.Go(func() { link.NewFront(n.domain, link.Options{}).Run(n.ctx, use) })
	return n
}

// back runs the backend's half for domain front.
func (n *node) back(front xen.DomID) *node { return n.backWith(front, n.serve(vsock.ToFrontend)) }

// backWith runs the backend's half with something else than the Stack above.
func (n *node) backWith(front xen.DomID, use link.Use) *node {
	n.halves.Go(func() { link.NewBack(n.domain, front, link.Options{}).Run(n.ctx, use) })
	return n
}

// up waits until the Stack has so many links.
func (n *node) up(links int) *node {
	n.tb.Helper()
	eventually(n.tb, 10*time.Second, "as many links as there should be", func() bool { return len(n.stack.Peers()) == links })
	return n
}

// stop ends the process in order; a second call does nothing.
func (n *node) stop() {
	n.once.Do(func() {
		n.stack.Close()
		n.cancel()
		n.halves.Wait()
	})
}

// listen listens on port until the test ends.
func (n *node) listen(port uint32) *vsock.Listener {
	n.tb.Helper()
	l, err := n.stack.Listen(port)
	if err != nil {
		n.tb.Fatal(err)
	}
	return l
}

// dial connects to another node's port.
func (n *node) dial(cid, port uint32) *vsock.Conn {
	n.tb.Helper()
	c, err := n.stack.Dial(n.tb.Context(), vsock.Addr{CID: cid, Port: port})
	if err != nil {
		n.tb.Fatal(err)
	}
	return c
}

// accept takes the next connection.
func accept(tb testing.TB, l *vsock.Listener) *vsock.Conn {
	tb.Helper()
	c, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return c.(*vsock.Conn)
}

// eventually waits until ok, looking every millisecond.
func eventually(tb testing.TB, within time.Duration, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("not within %v: %s", within, what)
		}
	}
}

// attach attaches dom to back.
func attach(tb testing.TB, dom, back *sim.Domain) {
	tb.Helper()
	store := dom.Host().Toolstack()
	defer store.Close()
	front := toolstack.Domain{ID: dom.ID(), Name: dom.Name(), UUID: dom.UUID()}
	if err := toolstack.Attach(context.Background(), store, front, toolstack.Domain{ID: back.ID()}, nil); err != nil {
		tb.Fatal(err)
	}
}

// newHost returns a host with dom0 and so many more domains, attached to it.
func newHost(tb testing.TB, guests int) (dom0 *sim.Domain, all []*sim.Domain) {
	tb.Helper()
	h := sim.NewTest(tb)
	for range guests {
		g := h.Create(sim.DomainConfig{})
		attach(tb, g, h.Domain(0))
		all = append(all, g)
	}
	return h.Domain(0), all
}

// star returns a backend in dom0 and frontends whose links are up.
func star(tb testing.TB, cfg vsock.Config, guests int) (back *node, fronts []*node) {
	tb.Helper()
	dom0, all := newHost(tb, guests)
	back = newNode(tb, dom0, backendOf(cfg))
	for _, g := range all {
		back.back(g.ID())
		fronts = append(fronts, newNode(tb, g, cfg).front())
	}
	back.up(guests)
	for _, f := range fronts {
		f.up(1)
	}
	return back, fronts
}

// backendOf is cfg for the backend's domain.
func backendOf(cfg vsock.Config) vsock.Config {
	cfg.Backend = true
	return cfg
}

// pair returns a backend and one frontend whose link is up.
func pair(tb testing.TB, cfg vsock.Config) (back, front *node) {
	tb.Helper()
	back, fronts := star(tb, cfg, 1)
	return back, fronts[0]
}

// echo accepts connections from l and sends back what comes on them, until l is
// closed.
func echo(l *vsock.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

// opError checks the form that every error of a connection has, and returns it.
func opError(tb testing.TB, op string, err error) *net.OpError {
	tb.Helper()
	var e *net.OpError
	switch {
	case !errors.As(err, &e):
		tb.Fatalf("%s: %v is no *net.OpError", op, err)
	case e.Op != op || e.Net != "vsock" || e.Source == nil || e.Addr == nil:
		tb.Errorf("%s: %#v lacks operation, network or an address", op, e)
	}
	return e
}
