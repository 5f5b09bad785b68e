// Package afvsocktest is a kernel with AF_VSOCK sockets and vhost-vsock, in memory: for
// tests of what stands between sockets and links, and for a host without /dev/vhost-vsock.
//
// It does what Linux 6.1 does where a program or a vhost instance can tell: the same
// answers and errors, credit, half-close, what the end of an instance does to its
// sockets, and that packets are not taken while too many answers wait.
package afvsocktest

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
)

const (
	bufferSize     = 256 << 10 // of a socket (VIRTIO_VSOCK_DEFAULT_BUF_SIZE)
	connectTimeout = 2 * time.Second
	closeTimeout   = 8 * time.Second
	firstPort      = 1024 // that a program gets which binds none
)

// Kernel is the sockets of a domain.
type Kernel struct {
	mu        sync.Mutex // guards all sockets and devices
	devices   map[uint32]*Device
	listeners map[uint32]*Listener
	conns     map[key]*Conn // bound and connecting, connected, or closing
	lastPort  uint32
	refuse    error
}

// key names a connection.
type key struct{ cid, peer, local uint32 }

// New returns a kernel without sockets.
func New() *Kernel {
	return &Kernel{
		devices: make(map[uint32]*Device), listeners: make(map[uint32]*Listener),
		conns: make(map[key]*Conn), lastPort: firstPort,
	}
}

// Refuse lets every Open return err from now on; nil: none.
func (k *Kernel) Refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refuse = err
}

// Sockets returns how many connections the kernel knows of.
func (k *Kernel) Sockets() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.conns)
}

// Dial connects as connect(2) does, from any port: ENODEV without an instance,
// ECONNRESET if refused, ETIMEDOUT after 2 s, EINTR if ctx ends.
func (k *Kernel) Dial(ctx context.Context, cid, port uint32) (*Conn, error) {
	return k.DialFrom(ctx, 0, cid, port)
}

// DialFrom is Dial from a port that the program has bound; 0: any.
func (k *Kernel) DialFrom(ctx context.Context, local, cid, port uint32) (*Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	dev := k.devices[cid]
	if dev == nil {
		return nil, syscall.ENODEV
	}
	id := key{cid: cid, peer: port, local: local}
	if local == 0 {
		id.local = k.freePort(cid, port)
	} else if k.conns[id] != nil {
		return nil, syscall.EADDRINUSE
	}
	c := k.newConn(id, dev)
	c.emit(mux.OpRequest, 0, nil)
	wake := func() { k.mu.Lock(); defer k.mu.Unlock(); c.changed.Broadcast() }
	defer context.AfterFunc(ctx, wake)()
	end := time.Now().Add(connectTimeout)
	timer := time.AfterFunc(connectTimeout, wake)
	defer timer.Stop()
	for c.connecting && c.err == nil {
		switch {
		case ctx.Err() != nil:
			c.err = syscall.EINTR
		case !time.Now().Before(end):
			c.err = syscall.ETIMEDOUT
		default:
			c.changed.Wait()
		}
	}
	if c.err != nil {
		k.forget(c)
		return nil, c.err
	}
	return c, nil
}

// freePort returns a port from which no connection to cid and port goes. The caller
// holds mu.
func (k *Kernel) freePort(cid, port uint32) uint32 {
	for {
		k.lastPort++
		if k.lastPort == vsock.PortAny {
			k.lastPort = firstPort
		}
		if k.conns[key{cid, port, k.lastPort}] == nil && k.listeners[k.lastPort] == nil {
			return k.lastPort
		}
	}
}

// newConn returns a socket that is connecting. The caller holds mu.
func (k *Kernel) newConn(id key, dev *Device) *Conn {
	c := &Conn{k: k, id: id, dev: dev, connecting: true}
	c.changed.L = &k.mu
	k.conns[id] = c
	return c
}

// forget takes a socket out of the table. The caller holds mu.
func (k *Kernel) forget(c *Conn) {
	if c.closing != nil {
		c.closing.Stop()
	}
	if k.conns[c.id] == c {
		delete(k.conns, c.id)
	}
	c.changed.Broadcast()
}

// Listener is a listening socket.
type Listener struct {
	k       *Kernel
	port    uint32
	backlog int
	changed sync.Cond
	waiting []*Conn
	closed  bool
}

// Listen listens on a port for connections from any CID; more than backlog that are
// not accepted are refused. EADDRINUSE if there is a listener.
func (k *Kernel) Listen(port uint32, backlog int) (*Listener, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listeners[port] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &Listener{k: k, port: port, backlog: backlog}
	l.changed.L = &k.mu
	k.listeners[port] = l
	return l, nil
}

// Accept returns the next connection, or net.ErrClosed.
func (l *Listener) Accept() (*Conn, error) {
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	for len(l.waiting) == 0 && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

// Close resets what was not accepted.
func (l *Listener) Close() error {
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	if !l.closed {
		l.closed = true
		delete(l.k.listeners, l.port)
		for _, c := range l.waiting {
			c.reset()
		}
		l.changed.Broadcast()
	}
	return nil
}

// receive takes a packet of an instance. The caller holds mu.
func (k *Kernel) receive(d *Device, h vhost.Header, payload []byte) {
	c := k.conns[key{cid: d.cid, peer: h.Src, local: h.Dst}]
	switch {
	case c != nil:
		c.receive(h, payload)
	case h.Op == mux.OpRequest && h.Type == mux.TypeStream && k.listeners[h.Dst] != nil:
		k.requested(d, h)
	case h.Op != mux.OpReset:
		d.emit(vhost.Header{Src: h.Dst, Dst: h.Src, Type: h.Type, Op: mux.OpReset}, nil)
	}
}

// requested accepts a connection, or refuses it. The caller holds mu.
func (k *Kernel) requested(d *Device, h vhost.Header) {
	l := k.listeners[h.Dst]
	if len(l.waiting) > l.backlog {
		d.emit(vhost.Header{Src: h.Dst, Dst: h.Src, Type: h.Type, Op: mux.OpReset}, nil)
		return
	}
	c := k.newConn(key{cid: d.cid, peer: h.Src, local: h.Dst}, d)
	c.connecting = false
	c.learn(h)
	l.waiting = append(l.waiting, c)
	c.emit(mux.OpResponse, 0, nil)
	l.changed.Signal()
}
