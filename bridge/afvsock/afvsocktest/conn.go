package afvsocktest

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"xvsock/bridge/vhost"
	"xvsock/mux"
	"xvsock/vsock"
)

// Flags of SHUTDOWN (uapi/linux/virtio_vsock.h).
const (
	shutReceive = 1
	shutSend    = 2
	shutBoth    = shutReceive | shutSend
)

// Conn is a connected stream socket. Reads and writes may go on at the same time.
// Kernel.mu guards it.
type Conn struct {
	k       *Kernel
	id      key
	dev     *Device
	changed sync.Cond

	connecting bool
	err        error // of what comes next
	done       bool  // RST came: end of file, and EPIPE
	closed     bool  // by the program
	closing    *time.Timer
	shut       uint32 // SHUTDOWN flags sent
	peerShut   uint32 // and received

	buf              []byte // received, not read
	fwdCnt, told     uint32 // bytes read; as the other side knows
	sent             uint32 // bytes
	peerBuf, peerFwd uint32 // its credit
}

// RemoteAddr is what getpeername says.
func (c *Conn) RemoteAddr() vsock.Addr { return vsock.Addr{CID: c.id.cid, Port: c.id.peer} }

// LocalPort is the socket's.
func (c *Conn) LocalPort() uint32 { return c.id.local }

// Read implements io.Reader: io.EOF after the other side's SHUTDOWN or RST, ECONNRESET
// after the end of the instance.
func (c *Conn) Read(b []byte) (int, error) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.buf) > 0:
			return c.read(b), nil
		case c.err != nil:
			return 0, c.err
		case c.done || c.peerShut&shutSend != 0 || c.shut&shutReceive != 0:
			return 0, io.EOF
		}
		c.changed.Wait()
	}
}

// read takes from the buffer, and tells the other side when it has little room left.
func (c *Conn) read(b []byte) int {
	n := copy(b, c.buf)
	c.buf = c.buf[n:]
	c.fwdCnt += uint32(n)
	if bufferSize-(c.fwdCnt-c.told) < vhost.MaxPayload && !c.done {
		c.emit(mux.OpCreditUpdate, 0, nil)
	}
	if len(c.buf) == 0 && c.peerShut == shutBoth && !c.done {
		c.reset()
	}
	return n
}

// Write implements io.Writer. It waits for credit.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for n < len(b) {
		room := int(c.peerBuf - (c.sent - c.peerFwd))
		switch {
		case c.closed:
			return n, net.ErrClosed
		case c.err != nil:
			return n, c.err
		case c.done || c.peerShut&shutReceive != 0 || c.shut&shutSend != 0:
			return n, syscall.EPIPE
		case room <= 0:
			c.changed.Wait()
			continue
		}
		part := b[n:min(len(b), n+room, n+vhost.MaxPayload)]
		c.emit(mux.OpData, 0, append([]byte(nil), part...))
		c.sent += uint32(len(part))
		n += len(part)
	}
	return n, nil
}

// CloseWrite is shutdown(SHUT_WR).
func (c *Conn) CloseWrite() error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.done || c.closed:
		return syscall.ENOTCONN
	}
	c.shutdown(c.shut | shutSend)
	return nil
}

func (c *Conn) shutdown(flags uint32) {
	c.shut = flags
	c.emit(mux.OpShutdown, flags, nil)
	c.changed.Broadcast()
}

// Close is close(2). The other side has 8 s to answer.
func (c *Conn) Close() error {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = true
	switch {
	case c.done || c.err != nil:
		c.k.forget(c)
	case c.peerShut == shutBoth:
		c.reset()
	default:
		c.shutdown(shutBoth)
		c.closing = time.AfterFunc(closeTimeout, func() {
			c.k.mu.Lock()
			defer c.k.mu.Unlock()
			if c.k.conns[c.id] == c {
				c.reset()
			}
		})
	}
	c.changed.Broadcast()
	return nil
}

// receive takes a packet. The caller holds mu, as for all that follow.
func (c *Conn) receive(h vhost.Header, payload []byte) {
	c.learn(h)
	switch {
	case h.Op == mux.OpReset && c.connecting:
		c.end(syscall.ECONNRESET)
	case h.Op == mux.OpReset:
		c.finish()
	case c.connecting && h.Op == mux.OpResponse:
		c.connecting = false
	case c.connecting:
		c.end(syscall.EPROTO)
		c.emit(mux.OpReset, 0, nil)
	case h.Op == mux.OpData:
		c.take(payload)
	case h.Op == mux.OpCreditRequest:
		c.emit(mux.OpCreditUpdate, 0, nil)
	case h.Op == mux.OpShutdown:
		c.peerShut |= h.Flags
		if c.peerShut == shutBoth && len(c.buf) == 0 {
			c.reset()
		}
	}
	c.changed.Broadcast()
}

// take keeps data, if the sender had credit for it.
func (c *Conn) take(payload []byte) {
	switch {
	case c.closed: // nobody reads it
	case len(c.buf)+len(payload) > bufferSize:
		c.end(syscall.ENOBUFS)
		c.emit(mux.OpReset, 0, nil)
	default:
		c.buf = append(c.buf, payload...)
	}
}

// learn takes the credit that a packet tells of.
func (c *Conn) learn(h vhost.Header) { c.peerBuf, c.peerFwd = h.BufAlloc, h.FwdCnt }

// reset sends RST and ends the connection.
func (c *Conn) reset() {
	c.emit(mux.OpReset, 0, nil)
	c.finish()
}

// finish ends the connection in order.
func (c *Conn) finish() {
	c.done = true
	c.peerShut = shutBoth
	c.k.forget(c)
}

// end ends the connection with an error.
func (c *Conn) end(err error) {
	c.err = err
	c.k.forget(c)
}

// emit sends a packet of the connection.
func (c *Conn) emit(op uint16, flags uint32, payload []byte) {
	c.told = c.fwdCnt
	c.dev.emit(vhost.Header{
		Src: c.id.local, Dst: c.id.peer, Type: mux.TypeStream, Op: op, Flags: flags,
		BufAlloc: bufferSize, FwdCnt: c.fwdCnt,
	}, payload)
}
