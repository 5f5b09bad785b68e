package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xvsock/link"
	"xvsock/manager/client"
	"xvsock/manager/port1"
	"xvsock/sim"
	"xvsock/vsock"
	"xvsock/xen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a test in a synctest bubble, on a host of its own.
func bubble(t *testing.T, f func(t *testing.T, h *sim.Host)) {
	synctest.Test(t, func(t *testing.T) { f(t, sim.NewTest(t)) })
}

// node is a frontend's process: a Client and the Stack that it serves.
type node struct {
	t      *testing.T
	dom    *sim.Domain
	proc   *sim.Process
	client *client.Client
	stack  *vsock.Stack
	once   sync.Once
}

// newNode starts a frontend's process in dom. It is stopped at the test's end.
func newNode(t *testing.T, dom *sim.Domain) *node { return newNodeWith(t, dom, client.Config{}) }

func newNodeWith(t *testing.T, dom *sim.Domain, cfg client.Config) *node {
	n := &node{t: t, dom: dom, proc: dom.NewProcess()}
	cfg.Domain = link.NewDomain(dom.ID(), n.proc.Grants(), n.proc.Events(), nil)
	n.client = client.New(cfg)
	n.stack = vsock.NewStack(vsock.Config{Self: dom.ID(), Guard: n.client, Broker: n.client})
	t.Cleanup(n.stop)
	return n
}

// stop ends the process in order; a second call does nothing.
func (n *node) stop() {
	n.once.Do(func() { errors.Join(n.stack.Close(), n.client.Close()) })
}

// kill ends the process as SIGKILL does.
func (n *node) kill() {
	n.proc.Kill()
	n.stop()
}

// id is the domain's.
func (n *node) id() xen.DomID { return n.dom.ID() }

// attachment is what the tests' toolstack gives to domain id at its nth attach.
func attachment(id xen.DomID, n byte) (a port1.Attachment) {
	a[0], a[1], a[2] = byte(id>>8), byte(id), n
	return a
}

// uuid is what the tests' toolstack calls domain id.
func uuid(id xen.DomID) (u port1.UUID) {
	u[0], u[1], u[15] = byte(id>>8), byte(id), 1
	return u
}

// ports is one range.
func ports(first, last uint32) []port1.Range {
	return []port1.Range{{First: first, Last: last, Rule: 1}}
}

// record is a PEER for domain id.
func record(id xen.DomID, out, in []port1.Range) port1.Peer {
	return port1.Peer{
		Domain: id, UUID: uuid(id), Attachment: attachment(id, 1), Name: fmt.Sprint("domain-", id), Out: out, In: in,
	}
}

// script is the manager's end of one conversation.
type script struct {
	t     *testing.T
	front *link.Link // the frontend's end of the front link
	back  *link.Link
	conn  net.Conn
	write *port1.Conn
	in    chan any // what the frontend sends; closed at the end
	hello port1.Hello
	met   chan error    // what Join returned
	list  chan struct{} // closed once joined was called
	ends  sync.WaitGroup
}

// join lets n meet a manager in domain 0, over a front link in memory.
func (n *node) join() *script { return n.joinWith(t0) }

// t0 is the backend's domain.
const t0 xen.DomID = 0

func (n *node) joinWith(backend xen.DomID) *script {
	n.t.Helper()
	s := n.meet(backend)
	s.ends.Go(s.read)
	s.hello = next[port1.Hello](s)
	return s
}

// joinDeaf is join with a manager that does not read.
func (n *node) joinDeaf() *script { return n.meet(t0) }

// meet is join before anything is said.
func (n *node) meet(backend xen.DomID) *script {
	n.t.Helper()
	s := &script{t: n.t, in: make(chan any, 10000), met: make(chan error, 1), list: make(chan struct{})}
	var err error
	if s.front, s.back, err = link.Loop(backend, link.Options{}); err != nil {
		n.t.Fatal(err)
	}
	stack := vsock.NewStack(vsock.Config{Backend: true})
	listener, err := stack.Listen(vsock.PortManager)
	if err != nil {
		n.t.Fatal(err)
	}
	s.ends.Go(func() { s.serve(n.stack, s.front, vsock.ToBackend) })
	s.ends.Go(func() { s.serve(stack, s.back, vsock.ToFrontend) })
	s.ends.Go(func() { s.met <- n.client.Join(context.Background(), n.stack, s.front, func() { close(s.list) }) })
	n.t.Cleanup(func() {
		s.front.End(link.Lost, nil)
		s.back.End(link.Lost, nil)
		errors.Join(stack.Close())
		s.ends.Wait()
	})
	if s.conn, err = listener.Accept(); err != nil {
		n.t.Fatal(err)
	}
	s.write = port1.NewConn(s.conn)
	return s
}

// serve runs one end of the front link.
func (s *script) serve(stack *vsock.Stack, l *link.Link, kind vsock.Kind) {
	stack.Serve(l, kind, nil)
	l.End(link.Lost, nil)
	l.Close()
}

// read takes what the frontend sends.
func (s *script) read() {
	defer close(s.in)
	r := port1.NewConn(s.conn)
	for {
		h, b, err := r.Read()
		if err != nil {
			return
		}
		m, err := parse(h, b)
		if err != nil {
			s.t.Errorf("the frontend sends %v: %v", h.Type, err)
			return
		}
		s.in <- m
	}
}

// parse reads what a frontend may send.
func parse(h port1.Header, b []byte) (any, error) {
	switch h.Type {
	case port1.TypeHello:
		return port1.ParseHello(b)
	case port1.TypePeerAck:
		return port1.ParsePeerAck(b)
	case port1.TypeConnectReq:
		return port1.ParseConnectReq(b)
	case port1.TypeConnectAck:
		return port1.ParseConnectAck(b)
	}
	return nil, fmt.Errorf("not a frontend's")
}

// message is any that can be sent.
type message interface{ Append([]byte) []byte }

// send sends messages to the frontend, as one write.
func (s *script) send(all ...message) {
	s.t.Helper()
	var b []byte
	for _, m := range all {
		b = m.Append(b)
	}
	if err := s.write.Write(b); err != nil {
		s.t.Errorf("send to the frontend: %v", err)
	}
}

// next returns the next message of the frontend, which must be a T. A HELLO that
// tells of a change may come before it.
func next[T any](s *script) T {
	s.t.Helper()
	var m any
	for end := time.After(20 * time.Second); ; {
		select {
		case m = <-s.in:
		case <-end:
			m = nil
		}
		if v, is := m.(T); is {
			return v
		}
		if _, is := m.(port1.Hello); !is {
			break
		}
	}
	var want T
	s.t.Fatalf("the frontend says %T %+v, want %T (link: %v)", m, m, want, s.front.Err())
	return want
}

// silent fails the test if the frontend says anything within d.
func (s *script) silent(d time.Duration) {
	s.t.Helper()
	select {
	case m, ok := <-s.in:
		if ok {
			s.t.Fatalf("the frontend says %T %+v", m, m)
		}
	case <-time.After(d):
	}
}

// tell sends PEERs, each with an id, and waits for what confirms them.
func (s *script) tell(all ...port1.Peer) {
	s.t.Helper()
	for i, p := range all {
		p.ID = uint64(i) + 1000
		s.send(p)
		if ack := next[port1.PeerAck](s); ack.ID != p.ID {
			s.t.Fatalf("PEER %d is confirmed as %d", p.ID, ack.ID)
		}
	}
}

// complete says that the list of peers is.
func (s *script) complete() {
	s.t.Helper()
	s.send(port1.Hello{ID: s.hello.ID})
	select {
	case <-s.list:
	case <-time.After(time.Second):
		s.t.Fatal("joined was not called")
	}
}

// ended waits until the front link has ended, and checks why.
func (s *script) ended(want link.Cause, within time.Duration) {
	s.t.Helper()
	select {
	case <-s.front.Done():
		if got := link.CauseOf(s.front.Err()); got != want {
			s.t.Fatalf("front link ended as %v (%v), want %v", got, s.front.Err(), want)
		}
	case <-time.After(within):
		s.t.Fatalf("front link is up after %v", within)
	}
}

// die ends the front link, as the manager's death does, and waits until both ends
// are down.
func (s *script) die() {
	s.back.End(link.Lost, errors.New("the manager was killed"))
	s.front.End(link.Lost, errors.New("the manager was killed"))
	s.ends.Wait()
}

// dialing is a Dial under way.
type dialing struct {
	t    *testing.T
	done chan struct{}
	conn *vsock.Conn
	err  error
}

// dial starts to connect to port of domain id. The connection is closed at the
// test's end.
func (n *node) dial(id xen.DomID, port uint32) *dialing {
	return n.dialCtx(n.t.Context(), id, port)
}

func (n *node) dialCtx(ctx context.Context, id xen.DomID, port uint32) *dialing {
	d := &dialing{t: n.t, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.conn, d.err = n.stack.Dial(ctx, vsock.Addr{CID: uint32(id), Port: port})
	}()
	return d
}

// fails waits for the Dial to fail, and checks with what.
func (d *dialing) fails(want error) {
	d.t.Helper()
	<-d.done
	if d.err == nil {
		d.conn.Close()
		d.t.Fatalf("connected, want %v", want)
	}
	if !errors.Is(d.err, want) {
		d.t.Fatalf("Dial fails with %v, want %v", d.err, want)
	}
}

// made waits for the Dial to succeed.
func (d *dialing) made() *vsock.Conn {
	d.t.Helper()
	<-d.done
	if d.err != nil {
		d.t.Fatalf("Dial: %v", d.err)
	}
	return d.conn
}

// echo serves port by sending back what comes, until the Stack is closed.
func (n *node) echo(port uint32) {
	n.t.Helper()
	l, err := n.stack.Listen(port)
	if err != nil {
		n.t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				io.Copy(c, c)
				c.Close()
			})
		}
	})
	n.t.Cleanup(func() { l.Close(); n.stop(); conns.Wait() })
}

// works checks that a connection to an echo carries bytes.
func works(t *testing.T, c *vsock.Conn) {
	t.Helper()
	b := []byte("hello")
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
}

// state is how far the link to domain id is, as status says it.
func (n *node) state(id xen.DomID) string {
	for _, p := range n.client.Peers() {
		if p.Domain == id {
			return p.State
		}
	}
	return "unknown"
}

// await waits until the link to domain id is so far.
func (n *node) await(id xen.DomID, want string, within time.Duration) {
	n.t.Helper()
	for end := time.Now().Add(within); n.state(id) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("the link to domain %v is %s after %v, want %s", id, n.state(id), within, want)
		}
	}
}

// holds checks what the domain's processes hold.
func (n *node) holds(pages, ports int) {
	n.t.Helper()
	synctest.Wait()
	if g, p := n.dom.Granted(), n.dom.Ports(); g != pages || p != ports {
		n.t.Errorf("domain %v holds %d pages and %d ports, want %d and %d", n.id(), g, p, pages, ports)
	}
}

// synctestless runs a test on allocations outside of a bubble.
func synctestless(t *testing.T, f func(n *node)) {
	h := sim.NewTest(t)
	f(newX(t, h))
}
