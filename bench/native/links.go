package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"xvsock/link"
	"xvsock/sim"
	"xvsock/vsock"
)

// benchPort is where the server listens.
const benchPort = 7000

// links are the contestants that are ours.
func links() []contestant {
	return []contestant{
		over("sim-copy", link.Options{Access: link.AccessCopy}),
		over("sim-copy-sleep", link.Options{Access: link.AccessCopy, NoPoll: true}),
		over("sim-map", link.Options{Access: link.AccessMap}),
		over("sim-map-sleep", link.Options{Access: link.AccessMap, NoPoll: true}),
		{name: "loop", mode: "loop", open: loopLink},
	}
}

// over is a link between two domains with those options.
func over(name string, opt link.Options) contestant {
	return contestant{
		name: name, mode: opt.Access.String(), sleeps: opt.NoPoll,
		open: func() (*wire, error) { return peerLink(opt) },
	}
}

// loopLink connects a domain with itself: no Xen below, each end reads the other's
// ring in place.
func loopLink() (*wire, error) {
	s := vsock.NewStack(vsock.Config{Self: 1})
	return connect(s, s, vsock.CIDSelf, s.Close)
}

// peerLink connects two domains of a simulated host, of which neither is the other's
// backend, with the same options at both ends.
func peerLink(opt link.Options) (*wire, error) {
	h := sim.New()
	p := &pair{host: h, a: newEnd(h), b: newEnd(h)}
	if err := p.join(opt); err != nil {
		return nil, errors.Join(err, p.close())
	}
	w, err := connect(p.a.stack, p.b.stack, uint32(p.b.domain.ID()), p.close)
	if err == nil {
		w.counts = func() [2]sim.Counts { return [2]sim.Counts{p.a.dom.Counts(), p.b.dom.Counts()} }
	}
	return w, err
}

// pair is two domains with a link between them.
type pair struct {
	host    *sim.Host
	a, b    *end
	serving sync.WaitGroup
}

// end is one of the domains.
type end struct {
	dom    *sim.Domain
	domain *link.Domain
	stack  *vsock.Stack
}

// newEnd makes a domain with a stack, which has no links yet.
func newEnd(h *sim.Host) *end {
	d := h.Create(sim.DomainConfig{})
	p := d.NewProcess()
	return &end{
		dom:    d,
		domain: link.NewDomain(d.ID(), p.Grants(), p.Events(), p.Xenstore()),
		stack:  vsock.NewStack(vsock.Config{Self: d.ID()}),
	}
}

// join makes the link and has both stacks serve it.
func (p *pair) join(opt link.Options) error {
	a, err := link.NewOffer(p.a.domain, p.b.domain.ID(), opt)
	if err != nil {
		return err
	}
	defer a.Release()
	b, err := link.NewOffer(p.b.domain, p.a.domain.ID(), opt)
	if err != nil {
		return err
	}
	defer b.Release()
	if err := first(b.Adopt(a.Terms().Generation), b.Bind(a.Terms()), a.Bind(b.Terms())); err != nil {
		return err
	}
	for _, o := range []struct {
		offer *link.Offer
		end   *end
	}{{a, p.a}, {b, p.b}} {
		l, err := o.offer.Link(context.Background())
		if err != nil {
			return err
		}
		if l.Access() != opt.Access {
			l.Close()
			return fmt.Errorf("the link reads by %v, not by %v", l.Access(), opt.Access)
		}
		ready := make(chan struct{})
		p.serving.Go(func() {
			defer l.Close()
			o.end.stack.Serve(l, vsock.ToPeer, func() { close(ready) })
		})
		<-ready
	}
	return nil
}

// close ends the link and the host, and says what was left behind.
func (p *pair) close() error {
	err := first(p.a.stack.Close(), p.b.stack.Close())
	p.serving.Wait()
	p.a.domain.Store.Close()
	p.b.domain.Store.Close()
	err = errors.Join(append([]error{err}, append(p.host.Leaks(), p.host.Misuse()...)...)...)
	p.host.Close()
	return err
}

// connect has one stack serve a connection that the other one dials; stop ends both.
func connect(from, to *vsock.Stack, cid uint32, stop func() error) (*wire, error) {
	l, err := to.Listen(benchPort)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = serve(conn)
		}
		served <- err
	}()
	conn, err := from.Dial(context.Background(), vsock.Addr{CID: cid, Port: benchPort})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), l.Close(), stop(), <-served)
	}
	return newWire(conn, func() error {
		return errors.Join(<-served, l.Close(), stop())
	}), nil
}
