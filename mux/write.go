package mux

import (
	"math/bits"
	"os"
)

// pendings are the control frames a connection wants to send, one bit a kind,
// sent from the lowest up.
type pendings uint8

const (
	pendRequest pendings = 1 << iota
	pendResponse
	pendCreditRequest
	pendCreditUpdate
	pendShutdown
	pendReset
)

// pendingOps are the frames the bits stand for.
var pendingOps = [...]uint16{opRequest, opResponse, opCreditRequest, opCreditUpdate, opShutdown, opReset}

// Write implements net.Conn. It returns when all of p is in the ring. p is
// copied once, into the ring, by whoever finds room for it.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if done, err := c.startWrite(p); done || err != nil {
		return c.wrote, err
	}
	return c.finishWrite(len(p))
}

// startWrite sends as much of p as there is room and credit for, and queues for
// the rest.
func (c *Conn) startWrite(p []byte) (done bool, err error) {
	s := c.s
	s.mu.Lock()
	defer s.unlock()
	c.wrote = 0
	if err := c.writable(); err != nil || len(p) == 0 {
		return true, err
	}
	if c.straight(p) {
		return true, nil
	}
	c.out = p
	s.tx.data.push(&c.inData)
	s.tx.drain()
	return c.wrote == len(p), nil
}

// straight puts p into the ring as one frame if nothing waits there before it, which is
// what most Writes find. If not, nothing has happened.
func (c *Conn) straight(p []byte) bool {
	x := &c.s.tx
	switch {
	case !x.clear() || !c.open || len(p) > x.maxFrame:
		return false
	case int(c.credit.left(c.sent.Load())) < len(p) || c.share.wait(x, c.key, frameSize(len(p))) != 0:
		return false
	case !c.put(x, p):
		return false // and drain tries again, and says what it wants
	}
	c.wrote = len(p)
	return true
}

func (c *Conn) finishWrite(size int) (int, error) {
	c.s.mu.Lock()
	defer c.s.unlock()
	for serve := true; len(c.out) > 0 && !c.deadline.passed(); serve = !serve {
		if serve {
			c.s.mu.Unlock()
			c.s.serve(c, (*Conn).written)
			c.s.mu.Lock()
			continue
		}
		c.cond.Wait()
	}
	if c.wrote == size {
		return size, nil
	}
	err := c.writeErr
	if err == nil {
		err = os.ErrDeadlineExceeded
	}
	c.stopWrite()
	c.s.tx.drain()
	return c.wrote, err
}

// written is the goal of a Write: whether one that waits would return.
func (c *Conn) written() (written, hungry bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return len(c.out) == 0 || c.deadline.passed(), false
}

func (c *Conn) writable() error {
	switch {
	case c.writeErr != nil:
		return c.writeErr
	case c.deadline.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// stopWrite ends the Write going on, so that the control frames that must follow
// its data may go.
func (c *Conn) stopWrite() {
	c.inData.leave()
	c.out = nil
	c.starved.Store(false)
	c.want(0)
	c.cond.Broadcast()
	c.s.rouse(&c.lane)
}

// nextData implements tenant. Without credit the connection is starved: more credit
// puts it back into the queue.
func (c *Conn) nextData(most int) (int, bool) {
	for range 2 {
		if n := min(len(c.out), most, int(c.credit.left(c.sent.Load()))); n > 0 && c.open {
			return n, true
		}
		// The pump stores credit and then looks at starved, so a second look
		// at the credit after this store misses nothing.
		c.starved.Store(true)
	}
	return 0, false
}

// feed puts a starved connection back into the queue.
func (c *Conn) feed() {
	if len(c.out) > 0 && c.starved.Swap(false) {
		c.s.tx.data.push(&c.inData)
	}
}

// put puts a data frame into the ring, and returns false if there is no room.
func (c *Conn) put(x *sender, p []byte) bool {
	n := uint32(len(p))
	// Counted before the other side can see it and acknowledge it.
	c.sent.Add(n)
	if !x.emit(c.header(opData), p) {
		c.sent.Add(-n)
		return false
	}
	c.share.add(x, c.key, frameSize(len(p)))
	c.pending &^= pendCreditUpdate
	return true
}

// sendData implements tenant.
func (c *Conn) sendData(x *sender, n int) bool {
	if !c.put(x, c.out[:n]) {
		return false
	}
	c.out, c.wrote = c.out[n:], c.wrote+n
	if len(c.out) > 0 {
		x.data.rotate()
		return true
	}
	c.stopWrite()
	return true
}

// header returns a header with the credit of the moment.
func (c *Conn) header(op uint16) header {
	h := header{src: c.key.local, dst: c.key.remote, typ: typeStream, op: op}
	h.bufAlloc, h.fwdCnt = c.recv.stamp()
	return h
}

// want adds control frames to those that wait, and queues the connection for
// those that may go.
func (c *Conn) want(p pendings) {
	c.pending |= p
	if c.open && c.sendable() != 0 {
		c.s.tx.control.push(&c.inControl)
	}
}

// sendable returns the pending frames that may go before the connection's
// queued data. SHUTDOWN may not; RST comes when the data has been given up.
func (c *Conn) sendable() pendings {
	if len(c.out) > 0 {
		return c.pending &^ pendShutdown
	}
	return c.pending
}

// sendControl implements tenant.
func (c *Conn) sendControl(x *sender) bool {
	for c.sendable() != 0 {
		i := bits.TrailingZeros8(uint8(c.sendable()))
		h := c.header(pendingOps[i])
		switch h.op {
		case opShutdown:
			h.flags = c.shut
		case opReset:
			h.flags = uint32(c.reason)
		}
		if !x.emit(h, nil) {
			return false
		}
		c.pending &^= 1<<i | pendCreditUpdate
		if h.op == opReset {
			c.gone()
		}
	}
	return true
}
