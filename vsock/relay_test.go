package vsock_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"xvsock/mux"
	"xvsock/vsock"
	"xvsock/xen"
)

// kernel is the sockets of a domain as another one, or itself, sees them: a mux.Relay
// that notes what it gets.
type kernel struct {
	mu     sync.Mutex
	got    []mux.Packet
	data   []byte // of all RW
	resets []mux.Packet
	lost   int
}

// Deliver implements mux.Relay.
func (k *kernel) Deliver(_ *mux.Session, p mux.Packet, a, b []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	p.BufAlloc = 0
	k.got = append(k.got, p)
	k.data = append(append(k.data, a...), b...)
	return true
}

// Reset implements mux.Relay.
func (k *kernel) Reset(p mux.Packet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.resets = append(k.resets, p)
}

// Flush implements mux.Relay.
func (k *kernel) Flush() {}

// Lost implements mux.Relay.
func (k *kernel) Lost() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost++
}

// take returns the packets that came since the last call.
func (k *kernel) take() []mux.Packet {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	got := k.got
	k.got = nil
	return got
}

// told returns the resets and losses since the last call.
func (k *kernel) told() (resets, lost int) {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	resets, lost = len(k.resets), k.lost
	k.resets, k.lost = nil, 0
	return resets, lost
}

// expect fails unless exactly these packets came.
func (k *kernel) expect(t *testing.T, want ...mux.Packet) {
	t.Helper()
	if got := k.take(); !slices.Equal(got, want) {
		t.Fatalf("the kernel got %+v, want %+v", got, want)
	}
}

// locals are the programs of a domain: one at a port, and the kernel for all else.
type locals struct {
	kernel  *kernel
	port    uint32
	offered chan *vsock.Conn

	mu    sync.Mutex
	peers []xen.DomID // that the kernel was asked for
}

func newLocals() *locals { return &locals{kernel: new(kernel), offered: make(chan *vsock.Conn, 1)} }

// Acceptor implements vsock.Locals.
func (l *locals) Acceptor(port uint32) func(*vsock.Conn) bool {
	if port != l.port {
		return nil
	}
	return func(c *vsock.Conn) bool {
		select {
		case l.offered <- c:
			return true
		default:
			return false
		}
	}
}

// Relay implements vsock.Locals.
func (l *locals) Relay(peer xen.DomID) mux.Relay {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peers = append(l.peers, peer)
	if l.kernel == nil {
		return nil
	}
	return l.kernel
}

// relayPair is a backend and a frontend, each with a kernel.
func relayPair(t *testing.T, cfg vsock.Config) (back, front *node, atBack, atFront *locals) {
	t.Helper()
	dom0, guests := newHost(t, 1)
	atBack, atFront = newLocals(), newLocals()
	cfg.Locals = atBack
	back = newNode(t, dom0, backendOf(cfg)).back(guests[0].ID())
	cfg.Locals = atFront
	front = newNode(t, guests[0], cfg).front()
	back.up(1)
	front.up(1)
	return back, front, atBack, atFront
}

// from is a packet of a program's socket.
func from(local, remote uint32, op uint16) mux.Packet {
	return mux.Packet{Local: local, Remote: remote, Type: mux.TypeStream, Op: op}
}

// send sends a packet that is accepted.
func (n *node) send(cid uint32, k *kernel, p mux.Packet, payload string) {
	n.tb.Helper()
	if err := n.stack.Send(cid, k, p, []byte(payload)); err != nil {
		n.tb.Fatalf("Send(%d, %+v) = %v", cid, p, err)
	}
}

func TestKernelsConnectOverALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front, atBack, atFront := relayPair(t, roomy)
		there := front.addr(0).CID
		for _, cid := range []uint32{there, 0x10000 + there} { // both spellings are one domain
			back.send(cid, atBack.kernel, from(5000+cid, 80, mux.OpRequest), "")
			atFront.kernel.expect(t, from(80, 5000+cid, mux.OpRequest))
			front.send(vsock.CIDBackend, atFront.kernel, from(80, 5000+cid, mux.OpResponse), "")
			atBack.kernel.expect(t, from(5000+cid, 80, mux.OpResponse))
		}
		for _, n := range []*node{back, front} {
			if p := n.stack.Peers(); p[0].Conns != 2 || p[0].Relayed != 2 {
				t.Errorf("Peers() = %+v", p)
			}
		}
		want := bytes.Repeat([]byte("0123456789abcdef"), 20000)
		front.send(0x10000, atFront.kernel, from(80, 5000+there, mux.OpData), string(want))
		atBack.kernel.take()
		if !bytes.Equal(atBack.kernel.data, want) {
			t.Errorf("%d bytes came, of %d", len(atBack.kernel.data), len(want))
		}
		back.stack.Withdraw(there, atBack.kernel)
		got := atFront.kernel.take()
		slices.SortFunc(got, func(a, b mux.Packet) int { return int(a.Remote) - int(b.Remote) })
		if !slices.Equal(got, []mux.Packet{from(80, 5000+there, mux.OpReset), from(80, 5000+there+0x10000, mux.OpReset)}) {
			t.Errorf("after Withdraw, the other kernel got %+v", got)
		}
		if resets, lost := atBack.kernel.told(); resets+lost != 0 {
			t.Errorf("who withdrew is told of %d resets, %d losses", resets, lost)
		}
	})
}

func TestTheLinksEndReachesTheKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front, atBack, atFront := relayPair(t, roomy)
		there := front.addr(0).CID
		back.send(there, atBack.kernel, from(5000, 80, mux.OpRequest), "")
		atFront.kernel.take()
		front.send(0x10000, atFront.kernel, from(80, 5000, mux.OpResponse), "")
		atBack.kernel.take()
		front.kill()
		back.up(0)
		if resets, lost := atBack.kernel.told(); resets != 0 || lost != 1 {
			t.Errorf("%d resets, %d losses", resets, lost)
		}
	})
}

// The first who has the port gets the connection: a Listener, another program, the
// kernel.
func TestPortsAreOneSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front, _, atFront := relayPair(t, roomy)
		there := front.addr(0).CID
		atFront.port = 8
		l := front.listen(7)
		dial := func(port uint32) (*vsock.Conn, error) {
			return back.stack.Dial(t.Context(), vsock.Addr{CID: there, Port: port})
		}
		c, err := dial(7)
		if err != nil {
			t.Fatal(err)
		}
		accept(t, l).Close()
		c.Close()

		if c, err = dial(8); err != nil {
			t.Fatal(err)
		}
		d := <-atFront.offered
		if d.Peer() != 0 || d.LocalAddr().(vsock.Addr).Port != 8 {
			t.Errorf("a connection from %v to %v", d.RemoteAddr(), d.LocalAddr())
		}
		go func() { _, _ = io.WriteString(d, "hello"); d.Close() }()
		if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
		atFront.kernel.expect(t) // none of them

		atFront.offered <- nil // takes no more
		for _, port := range []uint32{8, 9} {
			dialed := make(chan error)
			go func() {
				c, err := dial(port)
				if err == nil {
					c.Close()
				}
				dialed <- err
			}()
			got := atFront.kernel.take()
			if len(got) != 1 || got[0].Local != port || got[0].Op != mux.OpRequest {
				t.Fatalf("port %d: the kernel got %+v", port, got)
			}
			front.send(0x10000, atFront.kernel, from(port, got[0].Remote, mux.OpReset), "")
			if err := <-dialed; !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("port %d: %v", port, err)
			}
		}
		if _, err := dial(1); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("the manager's port: %v", err)
		}
		atFront.kernel.expect(t)
		if !slices.Equal(slices.Compact(atFront.peers), []xen.DomID{0}) {
			t.Errorf("the kernel was asked for as %v sees it", atFront.peers)
		}
		atFront.mu.Lock()
		atFront.kernel = nil
		atFront.mu.Unlock()
		if _, err := dial(9); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("without a kernel: %v", err)
		}
	})
}

// A Listener's backlog that is full, or SEQPACKET for it, is not the kernel's.
func TestAListenersPortIsNotTheKernels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back, front, atBack, atFront := relayPair(t, roomy)
		front.listen(7)
		p := from(5000, 7, mux.OpRequest)
		p.Type = mux.TypeSeqpacket
		back.send(front.addr(0).CID, atBack.kernel, p, "")
		got := atBack.kernel.take()
		if len(got) != 1 || got[0].Op != mux.OpReset || got[0].Flags != uint32(mux.ReasonRefused) {
			t.Errorf("SEQPACKET to a Listener: %+v", got)
		}
		atFront.kernel.expect(t)
	})
}

// Programs of one domain connect to one another by its own id: one kernel is at both
// ends.
func TestAKernelConnectsToItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newLocals()
		k := at.kernel
		stack := vsock.NewStack(vsock.Config{Self: 5, Locals: at})
		defer stack.Close()
		send := func(p mux.Packet, payload string) {
			t.Helper()
			if err := stack.Send(vsock.CIDSelf, k, p, []byte(payload)); err != nil {
				t.Fatalf("Send(%+v) = %v", p, err)
			}
		}
		send(from(6000, 99, mux.OpReset), "") // of nothing, and makes no loop
		if err := stack.Send(vsock.CIDSelf, k, from(6000, 99, mux.OpShutdown), nil); !isReset(err) {
			t.Errorf("SHUTDOWN of nothing: %v", err)
		}
		send(from(5000, 80, mux.OpRequest), "")
		k.expect(t, from(80, 5000, mux.OpRequest))
		send(from(80, 5000, mux.OpResponse), "")
		k.expect(t, from(5000, 80, mux.OpResponse))
		send(from(5000, 80, mux.OpData), "ping")
		k.expect(t, from(80, 5000, mux.OpData))
		send(from(80, 5000, mux.OpData), "pong")
		k.expect(t, from(5000, 80, mux.OpData))
		if string(k.data) != "pingpong" {
			t.Errorf("%q", k.data)
		}
		shut := from(5000, 80, mux.OpShutdown)
		shut.Flags = 3
		send(shut, "")
		there := from(80, 5000, mux.OpShutdown)
		there.Flags = 3
		k.expect(t, there)
		send(from(80, 5000, mux.OpReset), "")
		k.expect(t, from(5000, 80, mux.OpReset))

		if !slices.Equal(at.peers, []xen.DomID{5}) {
			t.Errorf("the kernel was asked for as %v sees it", at.peers)
		}
		if err := stack.Send(vsock.CIDSelf, k, from(80, 80, mux.OpRequest), nil); !isReset(err) {
			t.Errorf("REQUEST to its own port: %v", err)
		}

		// The same by the domain's id, refused.
		if err := stack.Send(5, k, from(5001, 81, mux.OpRequest), nil); err != nil {
			t.Fatal(err)
		}
		k.expect(t, from(81, 5001, mux.OpRequest))
		send(from(81, 5001, mux.OpReset), "")
		k.expect(t, from(5001, 81, mux.OpReset))

		// Both ends are withdrawn, or lost with the domain's id.
		send(from(5002, 82, mux.OpRequest), "")
		send(from(5003, 83, mux.OpRequest), "")
		k.take()
		stack.Withdraw(vsock.CIDSelf, k)
		k.expect(t)
		for _, p := range []mux.Packet{from(82, 5002, mux.OpResponse), from(5003, 83, mux.OpShutdown)} {
			if err := stack.Send(vsock.CIDSelf, k, p, nil); !isReset(err) {
				t.Errorf("after Withdraw: %v", err)
			}
		}
		send(from(5004, 84, mux.OpRequest), "")
		k.take()
		send(from(84, 5004, mux.OpResponse), "")
		k.take()
		stack.SetSelf(9)
		if resets, lost := k.told(); resets != 0 || lost != 2 {
			t.Errorf("with the id, %d resets and %d losses, want one a session", resets, lost)
		}
		send(from(5005, 85, mux.OpRequest), "")
		k.expect(t, from(85, 5005, mux.OpRequest))
	})
}

func isReset(err error) bool {
	var reset *mux.ResetError
	return errors.As(err, &reset)
}

// A Go program and a socket of its own domain.
func TestAKernelConnectsToAListenerOfItsOwnDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newLocals()
		stack := vsock.NewStack(vsock.Config{Self: 5, Locals: at})
		defer stack.Close()
		l, err := stack.Listen(7)
		if err != nil {
			t.Fatal(err)
		}
		if err := stack.Send(vsock.CIDSelf, at.kernel, from(5000, 7, mux.OpRequest), nil); err != nil {
			t.Fatal(err)
		}
		at.kernel.expect(t, from(5000, 7, mux.OpResponse))
		c := accept(t, l)
		if err := stack.Send(vsock.CIDSelf, at.kernel, from(5000, 7, mux.OpData), []byte("hi")); err != nil {
			t.Fatal(err)
		}
		var b [2]byte
		if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "hi" {
			t.Errorf("%q, %v", b, err)
		}
		c.Close()
	})
}

func TestSendWithoutALink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn, nodes := newTown(t, 2, func(int) vsock.Config { return vsock.Config{Locals: newLocals()} })
		a, k := nodes[0], new(kernel)
		there := nodes[1].addr(80)
		if err := a.stack.Send(there.CID, k, from(5000, 80, mux.OpRequest), nil); err != vsock.ErrNoLink {
			t.Errorf("REQUEST: %v", err)
		}
		if err := a.stack.Send(there.CID, k, from(5000, 80, mux.OpShutdown), nil); !isReset(err) {
			t.Errorf("SHUTDOWN: %v", err)
		}
		if err := a.stack.Send(there.CID, k, from(5000, 80, mux.OpReset), nil); err != nil {
			t.Errorf("RST: %v", err)
		}
		if err := a.stack.Send(0x7FF5, k, from(5000, 80, mux.OpRequest), nil); !errors.Is(err, syscall.EHOSTUNREACH) || err == vsock.ErrNoLink {
			t.Errorf("a CID of no domain: %v", err)
		}
		a.stack.Withdraw(there.CID, k)
		if err := a.stack.Reach(t.Context(), there); err != nil {
			t.Fatal(err)
		}
		a.send(there.CID, k, from(5000, 80, mux.OpRequest), "")
		if n := tn.asked.Load(); n != 1 {
			t.Errorf("the broker was asked %d times", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.stack.Reach(ctx, vsock.Addr{CID: 999, Port: 80}); err == nil {
			t.Error("Reach of no domain")
		} else {
			opError(t, "dial", err)
		}
		a.stack.Close()
		if err := a.stack.Send(there.CID, k, from(5001, 80, mux.OpRequest), nil); err == nil {
			t.Error("Send after Close")
		}
	})
}

// sudden is a Guard during whose answer something happens.
type sudden struct{ during func() }

func (g *sudden) Admit(vsock.Request) (mux.Permit, mux.Reason) {
	g.during()
	return nil, mux.ReasonNone
}

func (g *sudden) Review(_ vsock.Request, p mux.Permit) (mux.Permit, mux.Reason) {
	return p, mux.ReasonNone
}

// A link that ends before it carried the REQUEST is none.
func TestSendOverALinkThatEndsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(sudden)
		cfg := roomy
		cfg.Guard = g
		back, front, atBack, _ := relayPair(t, cfg)
		there := front.addr(0).CID
		g.during = func() {
			front.kill()
			back.up(0)
		}
		if err := back.stack.Send(there, atBack.kernel, from(5000, 80, mux.OpRequest), nil); err != vsock.ErrNoLink {
			t.Errorf("Send() = %v", err)
		}
	})
}

// The Guard decides about a kernel's connections as about all others.
func TestTheGuardSeesRelayedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doorman{closed: map[uint32]mux.Reason{81: mux.ReasonDenied}}
		cfg := roomy
		cfg.Guard = d
		back, front, atBack, atFront := relayPair(t, cfg)
		there := front.addr(0).CID
		if err := back.stack.Send(there, atBack.kernel, from(5000, 81, mux.OpRequest), nil); !isReset(err) {
			t.Errorf("a denied port: %v", err)
		}
		back.send(there, atBack.kernel, from(5000, 80, mux.OpRequest), "")
		atFront.kernel.take()
		front.send(0x10000, atFront.kernel, from(80, 5000, mux.OpResponse), "")
		atBack.kernel.take()
		d.mu.Lock()
		d.closed[80] = mux.ReasonRevoked
		d.mu.Unlock()
		if n := back.stack.ReviewAll(); n != 1 {
			t.Errorf("%d ended", n)
		}
		if resets, lost := atBack.kernel.told(); resets != 1 || lost != 0 {
			t.Errorf("the kernel here: %d resets, %d losses", resets, lost)
		}
		got := atFront.kernel.take()
		if len(got) != 1 || got[0].Op != mux.OpReset {
			t.Errorf("the kernel there: %+v", got)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.inside != 0 {
			t.Errorf("%d permits are held", d.inside)
		}
	})
}
