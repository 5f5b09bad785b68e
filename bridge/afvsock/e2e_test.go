package afvsock_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xvsock/bridge/afvsock"
	"xvsock/bridge/afvsock/afvsocktest"
	"xvsock/link"
	"xvsock/mux"
	"xvsock/sim"
	"xvsock/toolstack"
	"xvsock/vsock"
	"xvsock/xen"
)

// domain is a domain of a simulated host, with a kernel whose sockets reach others.
type domain struct {
	t       *testing.T
	id      xen.DomID
	kernel  *afvsocktest.Kernel
	sw      *afvsock.Switch
	stack   *vsock.Stack
	proc    *sim.Process
	denied  atomic.Bool // what is open with others, and new connections
	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup
	links   chan *link.Link
}

// Acceptor implements vsock.Locals.
func (d *domain) Acceptor(uint32) func(*vsock.Conn) bool { return nil }

// Relay implements vsock.Locals.
func (d *domain) Relay(peer xen.DomID) mux.Relay { return d.sw.Relay(peer) }

// Admit implements vsock.Guard.
func (d *domain) Admit(vsock.Request) (mux.Permit, mux.Reason) {
	if d.denied.Load() {
		return nil, mux.ReasonDenied
	}
	return nil, mux.ReasonNone
}

// Review implements vsock.Guard.
func (d *domain) Review(vsock.Request, mux.Permit) (mux.Permit, mux.Reason) {
	if d.denied.Load() {
		return nil, mux.ReasonRevoked
	}
	return nil, mux.ReasonNone
}

// newDomain starts a daemon's parts in dom, and peers' instances.
func newDomain(t *testing.T, dom *sim.Domain, backend bool, peers ...afvsock.Peer) *domain {
	p := dom.NewProcess()
	d := &domain{t: t, id: dom.ID(), kernel: afvsocktest.New(), proc: p, links: make(chan *link.Link, 100)}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.sw = afvsock.New(afvsock.Config{Open: func(cid uint32) (afvsock.Device, error) { return d.kernel.Open(cid) }})
	d.sw.SetPeers(append(peers, afvsock.Peer{CID: vsock.CIDSelf, Domain: dom.ID()}))
	d.stack = vsock.NewStack(vsock.Config{Self: dom.ID(), Backend: backend, Guard: d, Locals: d})
	d.running.Go(func() { d.sw.Run(d.ctx, d.stack) })
	t.Cleanup(d.end)
	return d
}

func (d *domain) end() {
	d.stack.Close()
	d.stop()
	d.running.Wait()
}

// platform is the process's own way to Xen.
func (d *domain) platform() *link.Domain {
	store := d.proc.Xenstore()
	d.t.Cleanup(func() { store.Close() })
	return link.NewDomain(d.id, d.proc.Grants(), d.proc.Events(), store)
}

func (d *domain) serve(kind vsock.Kind) link.Use {
	return func(_ context.Context, l *link.Link) error {
		d.links <- l
		return d.stack.Serve(l, kind, nil)
	}
}

// twoDomains returns a backend and a frontend whose link is up, and the CIDs at which
// they find each other.
func twoDomains(t *testing.T) (back, front *domain, toFront, toBack uint32) {
	t.Helper()
	h := sim.NewTest(t)
	guest := h.Create(sim.DomainConfig{})
	store := h.Toolstack()
	defer store.Close()
	if err := toolstack.Attach(context.Background(), store, toolstack.Domain{ID: guest.ID(), Name: guest.Name(), UUID: guest.UUID()}, toolstack.Domain{}, nil); err != nil {
		t.Fatal(err)
	}
	toFront, toBack = vsock.CIDOf(guest.ID()), vsock.CIDOf(0)
	back = newDomain(t, h.Domain(0), true, afvsock.Peer{CID: toFront, Domain: guest.ID()})
	front = newDomain(t, guest, false, afvsock.Peer{CID: toBack, Domain: 0}, afvsock.Peer{CID: vsock.CIDBackend, Domain: 0})
	bp, fp := back.platform(), front.platform()
	back.running.Go(func() { link.NewBack(bp, guest.ID(), link.Options{}).Run(back.ctx, back.serve(vsock.ToFrontend)) })
	front.running.Go(func() { link.NewFront(fp, link.Options{}).Run(front.ctx, front.serve(vsock.ToBackend)) })
	eventually(t, "the link is up", func() bool { return len(back.stack.Peers()) == 1 && len(front.stack.Peers()) == 1 })
	for _, d := range []*domain{back, front} {
		eventually(t, "all instances are open", d.allOpen)
	}
	return back, front, toFront, toBack
}

func (d *domain) allOpen() bool {
	all := d.sw.Status().Instances
	for _, i := range all {
		if i.State != "open" {
			return false
		}
	}
	return len(all) > 0
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (d *domain) listen(port uint32) *afvsocktest.Listener {
	d.t.Helper()
	l, err := d.kernel.Listen(port, 1000)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { l.Close() })
	return l
}

func (d *domain) dial(cid, port uint32) *afvsocktest.Conn {
	d.t.Helper()
	c, err := d.kernel.Dial(d.t.Context(), cid, port)
	if err != nil {
		d.t.Fatalf("connect to %d:%d: %v", cid, port, err)
	}
	return c
}

// connected returns both ends of a connection.
func connected(t *testing.T, from, to *domain, cid uint32) (a, b *afvsocktest.Conn) {
	t.Helper()
	l := to.listen(5000)
	a = from.dial(cid, 5000)
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// pour writes n bytes of noise and shuts the way; it returns their sum.
func pour(t *testing.T, c *afvsocktest.Conn, n int) [32]byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(c.LocalPort())})
	r.Read(p)
	if _, err := c.Write(p); err != nil {
		t.Errorf("write: %v", err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	return sha256.Sum256(p)
}

func TestAMegabyteEachWayBetweenTwoDomains(t *testing.T) {
	for _, tc := range []struct {
		name      string
		fromFront bool
		cid       uint32 // 0: the CID of the other domain
	}{
		{"the frontend connects", true, 0},
		{"the frontend connects to the backend's other CID", true, vsock.CIDBackend},
		{"the backend connects", false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			back, front, toFront, toBack := twoDomains(t)
			from, to, cid, seen := back, front, toFront, toBack
			if tc.fromFront {
				from, to, cid, seen = front, back, toBack, toFront
			}
			if tc.cid != 0 {
				cid = tc.cid
			}
			a, b := connected(t, from, to, cid)
			if got := b.RemoteAddr(); got != (vsock.Addr{CID: seen, Port: a.LocalPort()}) {
				t.Errorf("the one that accepts sees %v, want CID %d", got, seen)
			}
			const size = 1 << 20
			var sent, got [2][32]byte
			var all sync.WaitGroup
			for n, c := range []*afvsocktest.Conn{a, b} {
				all.Go(func() { sent[n] = pour(t, c, size+n) })
				all.Go(func() {
					p, err := io.ReadAll(c)
					if err != nil || len(p) != size+1-n {
						t.Errorf("read %d bytes: %v", len(p), err)
					}
					got[1-n] = sha256.Sum256(p)
				})
			}
			all.Wait()
			if got != sent {
				t.Error("other bytes came than were sent")
			}
			a.Close()
			b.Close()
			for _, d := range []*domain{back, front} {
				eventually(t, "no connection is left", func() bool { return d.stack.Peers()[0].Conns == 0 && d.kernel.Sockets() == 0 })
			}
		})
	}
}

func TestHalfClose(t *testing.T) {
	back, front, _, toBack := twoDomains(t)
	a, b := connected(t, front, back, toBack)
	pour(t, a, 10)
	if p, err := io.ReadAll(b); len(p) != 10 || err != nil {
		t.Fatalf("read %d bytes: %v", len(p), err)
	}
	if _, err := b.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if p, err := io.ReadAll(a); string(p) != "still here" || err != nil {
		t.Errorf("read %q: %v", p, err)
	}
}

func TestASlowReaderStopsItsConnectionAlone(t *testing.T) {
	back, front, _, toBack := twoDomains(t)
	a, b := connected(t, front, back, toBack)
	done := make(chan [32]byte, 1)
	go func() { done <- pour(t, a, 1<<20) }()
	eventually(t, "the reader's memory is full", func() bool {
		for _, i := range back.sw.Status().Instances {
			if i.ToKernel.Bytes == 256<<10 {
				return true
			}
		}
		return false
	})
	echo(back.listen(5001))
	c := front.dial(toBack, 5001)
	c.Write([]byte("hello"))
	p := make([]byte, 5)
	if _, err := io.ReadFull(c, p); err != nil || string(p) != "hello" {
		t.Errorf("another connection: %q, %v", p, err)
	}
	got, _ := io.ReadAll(b)
	if sha256.Sum256(got) != <-done {
		t.Error("other bytes came than were sent")
	}
}

// echo sends back what comes on each connection of l.
func echo(l *afvsocktest.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
}

func TestRefusals(t *testing.T) {
	back, front, _, toBack := twoDomains(t)
	refused := func(name string, cid, port uint32, want error) {
		t.Helper()
		start := time.Now()
		if c, err := front.kernel.Dial(t.Context(), cid, port); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v; want %v", name, c, err, want)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	refused("nobody listens", toBack, 5000, syscall.ECONNRESET)
	refused("the manager's port", toBack, 1, syscall.ECONNRESET)
	refused("a CID of nobody", 4711, 5000, syscall.ENODEV)
	refused("nobody listens here", vsock.CIDSelf, 5000, syscall.ECONNRESET)
	back.listen(4)
	refused("the control port without privilege", toBack, 4, syscall.ECONNRESET)
	if c, err := front.kernel.DialFrom(t.Context(), 1000, toBack, 4); err != nil {
		t.Errorf("the control port with privilege: %v", err)
	} else {
		c.Close()
	}
	back.listen(5000)
	back.denied.Store(true)
	refused("denied", toBack, 5000, syscall.ECONNRESET)
}

func TestARevocationEndsConnections(t *testing.T) {
	back, front, toFront, toBack := twoDomains(t)
	a, b := connected(t, front, back, toBack)
	back.denied.Store(true)
	if n := back.stack.Review(front.id); n != 1 {
		t.Errorf("%d connections ended, want 1", n)
	}
	back.sw.SetPeers(nil)
	for _, c := range []*afvsocktest.Conn{a, b} {
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read: %d, %v; want the end of the file", n, err)
		}
	}
	eventually(t, "the instance is closed", func() bool {
		_, err := back.kernel.Dial(t.Context(), toFront, 80)
		return errors.Is(err, syscall.ENODEV)
	})
}

func TestALostLinkResetsItsConnections(t *testing.T) {
	back, front, _, toBack := twoDomains(t)
	a, b := connected(t, front, back, toBack)
	for _, l := range []*link.Link{<-front.links} {
		l.End(link.Lost, errors.New("test"))
	}
	for n, c := range []*afvsocktest.Conn{a, b} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("end %d: %v, want ECONNRESET", n, err)
		}
	}
	echo(back.listen(5001))
	eventually(t, "it works again over the next link", func() bool {
		c, err := front.kernel.Dial(t.Context(), toBack, 5001)
		if err != nil {
			return false
		}
		defer c.Close()
		c.Write([]byte("x"))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	})
}

func TestADomainReachesItself(t *testing.T) {
	_, front, _, _ := twoDomains(t)
	a, b := connected(t, front, front, vsock.CIDSelf)
	if got := b.RemoteAddr(); got != (vsock.Addr{CID: vsock.CIDSelf, Port: a.LocalPort()}) {
		t.Errorf("accepted from %v", got)
	}
	go pour(t, a, 100000)
	if p, err := io.ReadAll(b); len(p) != 100000 || err != nil {
		t.Errorf("read %d bytes: %v", len(p), err)
	}
	b.Close()
	a.Close()
	eventually(t, "no socket is left", func() bool { return front.kernel.Sockets() == 0 })
}

func TestAKernelSocketAndAGoConn(t *testing.T) {
	back, front, toFront, toBack := twoDomains(t)
	l, err := back.stack.Listen(5000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := front.dial(toBack, 5000)
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go pour(t, a, 1<<20)
	if p, err := io.ReadAll(b); len(p) != 1<<20 || err != nil {
		t.Errorf("a Go program read %d bytes: %v", len(p), err)
	}
	b.Close()

	kl := front.listen(6000)
	c, err := back.stack.Dial(t.Context(), vsock.Addr{CID: toFront, Port: 6000})
	if err != nil {
		t.Fatal(err)
	}
	k, err := kl.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { c.Write(bytes.Repeat([]byte("x"), 1<<20)); c.CloseWrite() }()
	if p, err := io.ReadAll(k); len(p) != 1<<20 || err != nil {
		t.Errorf("a kernel's socket read %d bytes: %v", len(p), err)
	}
	k.Close()
	c.Close()
}

func TestFiveHundredConnectionsAtOnce(t *testing.T) {
	const many = 500
	back, front, _, toBack := twoDomains(t)
	echo(back.listen(5000))
	conns := make([]*afvsocktest.Conn, many)
	var all sync.WaitGroup
	var failed atomic.Int64
	for n := range conns {
		all.Go(func() {
			c, err := front.kernel.Dial(t.Context(), toBack, 5000)
			if err != nil {
				failed.Add(1)
				return
			}
			conns[n] = c
		})
	}
	all.Wait()
	if n := failed.Load(); n != 0 {
		t.Fatalf("%d of %d connects failed", n, many)
	}
	for n, c := range conns {
		all.Go(func() {
			p := bytes.Repeat([]byte{byte(n)}, 2000)
			go func() { c.Write(p); c.CloseWrite() }()
			if got, err := io.ReadAll(c); !bytes.Equal(got, p) {
				t.Errorf("connection %d: %d bytes came back: %v", n, len(got), err)
			}
			c.Close()
		})
	}
	all.Wait()
	for _, d := range []*domain{back, front} {
		eventually(t, "no connection is left", func() bool { return d.stack.Peers()[0].Conns == 0 && d.kernel.Sockets() == 0 })
	}
}

func TestAKernelThatStopsCostsTheOthersNothing(t *testing.T) {
	back, front, toFront, toBack := twoDomains(t)
	a, _ := connected(t, front, back, toBack)
	back.kernel.Stop(toFront, true)
	for range 200 { // more than the kernel's ring holds
		if _, err := a.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	echo(back.listen(5001))
	eventually(t, "it works again", func() bool {
		c, err := front.kernel.Dial(t.Context(), toBack, 5001)
		if err != nil {
			return false
		}
		defer c.Close()
		c.Write([]byte("x"))
		n, _ := c.Read(make([]byte, 1))
		return n == 1
	})
	for _, i := range back.sw.Status().Instances {
		if i.CID == toFront && i.Stalls != 1 {
			t.Errorf("%d stalls, want 1", i.Stalls)
		}
	}
}
