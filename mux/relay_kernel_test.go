package mux

import (
	"bytes"
	"io"
	"sync"
	"syscall"
	"testing"
)

// kernel plays the sockets of a domain's kernel, with credit as Linux keeps it, at
// the local end of a session. What it sends goes through one goroutine, as from a
// device's queue, and what it gets through a queue of few places.
type kernel struct {
	mu     sync.Mutex
	cond   sync.Cond
	s      *Session
	listen map[uint32]uint16 // port to type
	socks  map[tuple]*socket
	calls  chan *socket // accepted

	inbox   []packet
	places  int  // in inbox
	refused bool // Deliver found no place
	outbox  []packet
	ended   bool
	work    sync.WaitGroup
}

// socket is one end of a connection. Its kernel's mu guards it.
type socket struct {
	k   *kernel
	key tuple
	typ uint16

	open, eof, dead bool // answered; the other end is done; RST
	data            []byte
	ends            []int // of the messages in data
	taken, got      uint32
	sent            uint32
	peer            Packet // last stamp
	shut            bool
}

// socketMemory is the buf_alloc of all sockets.
const socketMemory = 20000

func newKernel(places int, listen map[uint32]uint16) *kernel {
	k := &kernel{listen: listen, socks: map[tuple]*socket{}, calls: make(chan *socket, 64), places: places}
	k.cond.L = &k.mu
	return k
}

func (k *kernel) start(s *Session) {
	k.s = s
	k.work.Go(k.sendAll)
	k.work.Go(k.receiveAll)
}

func (k *kernel) stop() {
	k.locked(func() { k.ended = true })
	k.work.Wait()
}

func (k *kernel) locked(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	k.cond.Broadcast()
}

// Deliver implements Relay.
func (k *kernel) Deliver(_ *Session, p Packet, a, b []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refused = len(k.inbox) >= k.places; k.refused {
		return false
	}
	k.inbox = append(k.inbox, packet{p, string(a) + string(b)})
	k.cond.Broadcast()
	return true
}

// Reset implements Relay.
func (k *kernel) Reset(p Packet) {
	k.locked(func() { k.inbox = append(k.inbox, packet{p, ""}) })
}

// Lost implements Relay.
func (k *kernel) Flush() {}

func (k *kernel) Lost() {
	k.locked(func() {
		for _, c := range k.socks {
			c.dead = true
		}
	})
}

func (k *kernel) sendAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.ended {
		if len(k.outbox) == 0 {
			k.cond.Wait()
			continue
		}
		p := k.outbox[0]
		k.outbox = k.outbox[1:]
		k.mu.Unlock()
		err := k.s.Send(k, p.Packet, []byte(p.payload))
		k.mu.Lock()
		if err != nil && p.Op != OpReset {
			p.Op = OpReset
			k.receive(p)
		}
	}
}

func (k *kernel) receiveAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.ended {
		if len(k.inbox) == 0 {
			k.cond.Wait()
			continue
		}
		p := k.inbox[0]
		k.inbox = k.inbox[1:]
		k.receive(p)
		if k.refused && len(k.inbox) == 0 {
			k.refused = false
			k.s.Wake()
		}
	}
}

// receive is what a kernel does about a packet.
func (k *kernel) receive(p packet) {
	defer k.cond.Broadcast()
	key := tuple{p.Local, p.Remote}
	c := k.socks[key]
	if c == nil {
		switch typ, listening := k.listen[p.Local]; {
		case p.Op == OpReset:
		case p.Op == OpRequest && listening && typ == p.Type:
			c = &socket{k: k, key: key, typ: p.Type, open: true, peer: p.Packet}
			k.socks[key] = c
			c.send(OpResponse, 0, "")
			k.calls <- c
		default:
			k.outbox = append(k.outbox, packet{Packet{Local: p.Local, Remote: p.Remote, Type: p.Type, Op: OpReset}, ""})
		}
		return
	}
	c.peer = p.Packet
	switch p.Op {
	case OpResponse:
		c.open = true
	case OpReset:
		c.eof, c.dead = true, true
		delete(k.socks, key)
	case OpShutdown:
		c.eof = c.eof || p.Flags&shutSend != 0
		if p.Flags == shutBoth {
			c.send(OpReset, 0, "")
			c.dead = true
			delete(k.socks, key)
		}
	case OpData:
		if c.got += uint32(len(p.payload)); c.got-c.taken > socketMemory {
			panic("more data than credit")
		}
		c.data = append(c.data, p.payload...)
		if p.Flags&1 != 0 {
			c.ends = append(c.ends, len(c.data))
		}
	case OpCreditRequest:
		c.send(OpCreditUpdate, 0, "")
	}
}

func (c *socket) send(op uint16, flags uint32, payload string) {
	c.k.outbox = append(c.k.outbox, packet{Packet{Local: c.key.local, Remote: c.key.remote, Type: c.typ, Op: op,
		Flags: flags, BufAlloc: socketMemory, FwdCnt: c.taken}, payload})
	c.k.cond.Broadcast()
}

// connect is connect(2).
func (k *kernel) connect(typ uint16, local, remote uint32) (*socket, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &socket{k: k, key: tuple{local, remote}, typ: typ}
	k.socks[c.key] = c
	c.send(OpRequest, 0, "")
	for !c.open && !c.dead {
		k.cond.Wait()
	}
	if c.dead {
		return nil, syscall.ECONNRESET
	}
	return c, nil
}

// Write implements io.Writer: for SEQPACKET, p is one message.
func (c *socket) Write(p []byte) (int, error) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for n := 0; ; {
		credit := int(c.peer.BufAlloc - (c.sent - c.peer.FwdCnt))
		switch {
		case c.dead || c.shut:
			return n, syscall.EPIPE
		case n == len(p) && (n > 0 || c.typ == TypeStream):
			return n, nil
		case n < len(p) && credit <= 0:
			c.k.cond.Wait()
			continue
		}
		size := min(len(p)-n, credit)
		var flags uint32
		if c.typ == TypeSeqpacket && n+size == len(p) {
			flags = 1
		}
		c.send(OpData, flags, string(p[n:n+size]))
		c.sent += uint32(size)
		if n += size; len(p) == 0 {
			return 0, nil
		}
	}
}

// Read implements io.Reader: for SEQPACKET, it returns one message.
func (c *socket) Read(p []byte) (int, error) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for {
		n := min(len(p), len(c.data))
		switch {
		case c.typ == TypeSeqpacket && len(c.ends) > 0:
			n = c.ends[0]
			c.ends = c.ends[1:]
			for i := range c.ends {
				c.ends[i] -= n
			}
		case c.typ == TypeStream && n > 0:
		case c.eof || c.dead:
			return 0, io.EOF
		default:
			if c.typ == TypeSeqpacket && len(c.data) > 0 { // as Linux does
				c.taken = c.got
				c.send(OpCreditUpdate, 0, "")
			}
			c.k.cond.Wait()
			continue
		}
		copy(p, c.data[:n])
		c.data = c.data[n:]
		if c.typ == TypeStream {
			c.taken += uint32(n)
		} else {
			c.taken = c.got
		}
		c.send(OpCreditUpdate, 0, "")
		return n, nil
	}
}

// CloseWrite is shutdown(2) with SHUT_WR.
func (c *socket) CloseWrite() { c.shutdown(shutSend) }

// Close is close(2).
func (c *socket) Close() { c.shutdown(shutBoth) }

func (c *socket) shutdown(flags uint32) {
	c.k.locked(func() {
		if !c.dead {
			c.shut = true
			c.send(OpShutdown, flags, "")
		}
	})
}

// kernels is two sessions between two kernels.
func kernels(t *testing.T, ring, places int) (a, b *kernel, p *pair) {
	t.Helper()
	a, b = newKernel(places, nil), newKernel(places, map[uint32]uint16{7: TypeStream, 8: TypeSeqpacket})
	p = newRelayPair(ring, a, b, Config{})
	a.start(p.a)
	b.start(p.b)
	return a, b, p
}

func stopKernels(t *testing.T, a, b *kernel, p *pair) {
	t.Helper()
	for name, s := range map[string]*Session{"a": p.a, "b": p.b} {
		if n := s.Stats().Lies; n != 0 {
			t.Errorf("%s lost %d connections to lies", name, n)
		}
	}
	p.stop()
	a.stop()
	b.stop()
}

// Two kernels speak over a link: a megabyte each way through the smallest rings, half
// closed one way and then the other, over kernels with room for one packet and more.
func TestTwoKernelsExchangeStreams(t *testing.T) {
	for _, ring := range []int{4 << 10, 64 << 10} {
		for _, places := range []int{1, 64} {
			bubble(t, func(t *testing.T) {
				a, b, p := kernels(t, ring, places)
				defer stopKernels(t, a, b, p)
				want := pattern(1 << 20)
				for port := range uint32(3) {
					c, err := a.connect(TypeStream, 5000+port, 7)
					if err != nil {
						t.Fatal(err)
					}
					d := <-b.calls
					back := make(chan []byte, 1)
					go func() {
						got, _ := io.ReadAll(d)
						_, _ = d.Write(got)
						d.Close()
					}()
					go func() {
						got, _ := io.ReadAll(c)
						back <- got
					}()
					if _, err := c.Write(want); err != nil {
						t.Fatal(err)
					}
					c.CloseWrite()
					if got := <-back; !bytes.Equal(got, want) {
						t.Errorf("ring of %d, %d places: %d bytes came back, of %d", ring, places, len(got), len(want))
					}
				}
			})
		}
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7 ^ byte(i>>16)*31
	}
	return b
}

// Messages keep their bounds, the empty one too.
func TestTwoKernelsExchangeMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, p := kernels(t, 4<<10, 4)
		defer stopKernels(t, a, b, p)
		c, err := a.connect(TypeSeqpacket, 5000, 8)
		if err != nil {
			t.Fatal(err)
		}
		d := <-b.calls
		buf := make([]byte, 1<<20)
		for _, n := range []int{3, 0, 14, 15000, 1, 0, 0, 20000} {
			want := pattern(n)
			go func() { _, _ = c.Write(want) }()
			if got, err := d.Read(buf); err != nil || !bytes.Equal(buf[:got], want) {
				t.Errorf("a message of %d bytes came as %d, %v", n, got, err)
			}
		}
		c.Close()
		if _, err := d.Read(buf); err != io.EOF {
			t.Errorf("Read() = %v", err)
		}
	})
}

func TestKernelsRefuseAndReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b, p := kernels(t, 4<<10, 4)
		defer stopKernels(t, a, b, p)
		for _, typ := range []uint16{TypeStream, TypeSeqpacket} {
			if _, err := a.connect(typ, 5000, 99); err != syscall.ECONNRESET {
				t.Errorf("connect() = %v where nobody listens", err)
			}
		}
		if _, err := a.connect(TypeSeqpacket, 5000, 7); err != syscall.ECONNRESET {
			t.Errorf("connect(SEQPACKET) = %v to a stream's listener", err)
		}
		c, err := a.connect(TypeStream, 5000, 7)
		if err != nil {
			t.Fatal(err)
		}
		d := <-b.calls
		p.a.Reset(all, ReasonRevoked)
		for name, s := range map[string]*socket{"its own kernel": c, "the other": d} {
			if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("Read() of %s = %d, %v", name, n, err)
			}
		}
		if n := p.a.Stats().Open + p.b.Stats().Open; n != 0 {
			t.Errorf("%d tuples left", n)
		}
	})
}

// A kernel's socket and a Conn are the two ends of one connection.
func TestAKernelSpeaksToAConn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKernel(2, map[uint32]uint16{7: TypeStream})
		p := newPair(4<<10, Config{Route: func(uint32, uint32) Route { return Route{Relay: k} }})
		k.start(p.a)
		defer k.stop()
		defer p.stop()
		want := pattern(300 << 10)
		c, err := k.connect(TypeStream, 5000, 7)
		if err != nil {
			t.Fatal(err)
		}
		d := <-p.accepted
		there, err := p.b.Dial(t.Context(), 6000, 7)
		if err != nil {
			t.Fatal(err)
		}
		here := <-k.calls
		for _, ends := range []struct {
			from interface {
				io.Writer
				CloseWrite()
			}
			to io.Reader
		}{{c, d}, {connWriter{there}, here}, {connWriter{d}, c}, {here, there}} {
			go func() {
				_, _ = ends.from.Write(want)
				ends.from.CloseWrite()
			}()
			if got, err := io.ReadAll(ends.to); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes came, of %d: %v", len(got), len(want), err)
			}
		}
		d.Close()
		there.Close()
	})
}

type connWriter struct{ *Conn }

func (c connWriter) CloseWrite() { _ = c.Conn.CloseWrite() }
