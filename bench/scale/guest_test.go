package scale

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/sim"
	"xvsock/vsock"
)

// servedPort is where a guest that serves listens.
const servedPort = 7000

// guest is a frontend whose stack a benchmark can use: the daemon's own parts of the
// front link and of port 1, without its services.
type guest struct {
	dom    *sim.Domain
	stack  *vsock.Stack
	client *client.Client
}

// join starts a guest of that name, and returns how long it took until its link stood
// and the manager knew it, from the toolstack's first word on.
func (f *fleet) join(name string) (*guest, time.Duration) {
	f.tb.Helper()
	dom := f.host.Create(sim.DomainConfig{Name: name})
	p := dom.NewProcess()
	d := link.NewDomain(dom.ID(), p.Grants(), p.Events(), p.Xenstore())
	c := client.New(client.Config{Domain: d})
	g := &guest{dom: dom, client: c, stack: vsock.NewStack(vsock.Config{Self: dom.ID(), Guard: c, Broker: c})}
	met := make(chan struct{})
	once := sync.OnceFunc(func() { close(met) })
	ctx, cancel := context.WithCancel(context.Background())
	var front sync.WaitGroup
	begin := time.Now()
	f.attach(dom)
	front.Go(func() {
		link.NewFront(d, link.Options{}).Run(ctx, func(ctx context.Context, l *link.Link) error {
			return g.use(ctx, l, once)
		})
	})
	f.tb.Cleanup(func() {
		g.stack.Close()
		c.Close()
		cancel()
		front.Wait()
		d.Store.Close()
	})
	<-met
	return g, time.Since(begin)
}

// use runs the connections of the front link and speaks with the manager, as the
// daemon does.
func (g *guest) use(ctx context.Context, l *link.Link, met func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var talking sync.WaitGroup
	talking.Go(func() { g.client.Join(ctx, g.stack, l, met) })
	err := g.stack.Serve(l, vsock.ToBackend, nil)
	cancel()
	talking.Wait()
	return err
}

// serve takes connections and holds each until its other end is closed.
func (g *guest) serve(tb testing.TB) {
	tb.Helper()
	l, err := g.stack.Listen(servedPort)
	if err != nil {
		tb.Fatal(err)
	}
	var holding sync.WaitGroup
	holding.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			holding.Go(func() { hold(c) })
		}
	})
	tb.Cleanup(func() {
		l.Close()
		holding.Wait()
	})
}

// hold reads from c until it ends.
func hold(c net.Conn) {
	defer c.Close()
	var b [64]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return
		}
	}
}

// connect makes a connection, closes it, and returns how long the making took.
func (g *guest) connect(tb testing.TB, cid, port uint32) time.Duration {
	tb.Helper()
	begin := time.Now()
	c, err := g.stack.Dial(tb.Context(), vsock.Addr{CID: cid, Port: port})
	took := time.Since(begin)
	if err != nil {
		tb.Fatal(err)
	}
	c.Close()
	return took
}

// awaitPeer waits until the manager has told of a domain.
func (g *guest) awaitPeer(tb testing.TB, other *guest) {
	tb.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		for _, p := range g.client.Peers() {
			if p.Domain == other.dom.ID() {
				return
			}
		}
		if time.Now().After(end) {
			tb.Fatalf("%s is not told of %s", g.dom.Name(), other.dom.Name())
		}
	}
}
