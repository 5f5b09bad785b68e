package vsock_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

// town is domains that have no backend, and what brokers links between them.
type town struct {
	tb    testing.TB
	nodes map[xen.DomID]*node
	asked atomic.Int64  // calls of Connect
	made  atomic.Int64  // links
	turn  chan struct{} // capacity 1: who brokers; guards links
	links map[[2]xen.DomID][2]*link.Link
}

// newTown returns a town with so many nodes; cfg makes the configuration of each.
func newTown(tb testing.TB, size int, cfg func(i int) vsock.Config) (*town, []*node) {
	tb.Helper()
	tn := &town{
		tb: tb, nodes: make(map[xen.DomID]*node),
		turn: make(chan struct{}, 1), links: make(map[[2]xen.DomID][2]*link.Link),
	}
	h := sim.NewTest(tb)
	var all []*node
	for i := range size {
		dom := h.Create(sim.DomainConfig{})
		c := cfg(i)
		c.Broker = broker{town: tn, self: dom.ID()}
		n := newNode(tb, dom, c)
		tn.nodes[dom.ID()] = n
		all = append(all, n)
	}
	return tn, all
}

// plain is a town's configuration with nothing special.
func plain(int) vsock.Config { return roomy }

// broker is a town's for one of its domains. It implements vsock.Broker.
type broker struct {
	town *town
	self xen.DomID
}

// Connect implements vsock.Broker.
func (b broker) Connect(ctx context.Context, peer xen.DomID, _ uint32) error {
	tn := b.town
	tn.asked.Add(1)
	if tn.nodes[peer] == nil {
		return errors.New("the town has no such domain")
	}
	select {
	case tn.turn <- struct{}{}:
		defer func() { <-tn.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	pair := []xen.DomID{b.self, peer}
	slices.Sort(pair)
	key := [2]xen.DomID(pair)
	if old := tn.links[key]; old[0] != nil {
		if old[0].Err() == nil && old[1].Err() == nil {
			return nil
		}
		old[0].End(link.Lost, nil) // as of another generation
		old[1].End(link.Lost, nil)
	}
	ends, err := tn.join(ctx, tn.nodes[key[0]], tn.nodes[key[1]])
	tn.links[key] = ends
	return err
}

// all lists the links, one a pair of domains.
func (tn *town) all() [][2]*link.Link {
	tn.turn <- struct{}{}
	defer func() { <-tn.turn }()
	return slices.Collect(maps.Values(tn.links))
}

// join makes a link between two nodes and has both Stacks serve it.
func (tn *town) join(ctx context.Context, a, b *node) (ends [2]*link.Link, err error) {
	oa, err1 := link.NewOffer(a.domain, b.domain.ID(), link.Options{})
	ob, err2 := link.NewOffer(b.domain, a.domain.ID(), link.Options{})
	if err := errors.Join(err1, err2); err != nil {
		return ends, err
	}
	defer func() { err = errors.Join(err, oa.Release(), ob.Release()) }()
	if err := errors.Join(ob.Adopt(oa.Terms().Generation), ob.Bind(oa.Terms()), oa.Bind(ob.Terms())); err != nil {
		return ends, err
	}
	ends[0], err1 = oa.Link(ctx)
	ends[1], err2 = ob.Link(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return ends, err
	}
	tn.made.Add(1)
	a.serveUntilTheEnd(ends[0])
	b.serveUntilTheEnd(ends[1])
	return ends, nil
}

// serveUntilTheEnd returns once the Stack serves a link to a peer.
func (n *node) serveUntilTheEnd(l *link.Link) {
	n.halves.Go(func() {
		if err := n.stack.Serve(l, vsock.ToPeer, nil); err == nil {
			n.tb.Error("Serve returned nil")
		}
		if err := l.Close(); err != nil {
			n.tb.Error(err)
		}
	})
	for !slices.ContainsFunc(n.stack.Peers(), func(p vsock.Peer) bool { return p.Serial == l.Serial() }) {
		if l.Err() != nil {
			return
		}
		time.Sleep(time.Microsecond)
	}
}

// addr is a port of the node as others reach it.
func (n *node) addr(port uint32) vsock.Addr {
	return vsock.Addr{CID: uint32(n.stack.Self()), Port: port}
}

// dialAll dials from to an address so often at once.
func dialAll(tb testing.TB, from *node, to vsock.Addr, times int) []*vsock.Conn {
	tb.Helper()
	conns := make([]*vsock.Conn, times)
	var callers sync.WaitGroup
	for i := range conns {
		callers.Go(func() {
			c, err := from.stack.Dial(context.Background(), to)
			if err != nil {
				tb.Errorf("dial %d: %v", i, err)
				return
			}
			conns[i] = c
		})
	}
	callers.Wait()
	if tb.Failed() {
		tb.FailNow()
	}
	return conns
}
