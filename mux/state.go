package mux

import (
	"net"
	"syscall"
	"time"
)

// lingerTime is how long a tuple outlives the shutdown of both directions if
// the other side does not end it with RST. Linux uses the same.
const lingerTime = 8 * time.Second

// state is where a connection stands. Session.mu guards it.
//
//	  Dial                  REQUEST accepted
//	   |                           |
//	dialing --- RESPONSE --> established
//	   |                           | both directions shut
//	   | given up                  v
//	   |                       lingering
//	   |                           | 8 s, or both sides closed
//	   v                           v
//	resetting <--- Reset, a lie, revocation
//	   | RST is in the ring
//	   v
//	 gone  <--- RST received, link ended (from anywhere)
//
// The tuple is in the table in every state but gone.
type state uint8

const (
	dialing state = iota
	established
	lingering
	resetting
	gone
)

var stateNames = [...]string{"dialing", "established", "lingering", "resetting", "gone"}

// String returns the state in a word.
func (st state) String() string { return stateNames[st] }

// establish opens both directions.
func (c *Conn) establish() {
	c.state, c.answered = established, true
	c.recv.mu.Lock()
	c.recv.ready = true
	c.recv.mu.Unlock()
	c.cond.Broadcast()
}

// release lets an incoming connection send, beginning with RESPONSE. Until then
// its acceptor might still refuse it.
func (c *Conn) release() {
	c.open = true
	if c.state != resetting {
		c.pending |= pendResponse
	}
	c.want(0)
	c.feed()
}

// shutdown is Close, CloseRead and CloseWrite.
func (c *Conn) shutdown(flags uint32, closing error) error {
	s := c.s
	s.mu.Lock()
	defer s.unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.shutLocal(flags, closing)
	s.tx.drain()
	return nil
}

func (c *Conn) shutLocal(flags uint32, closing error) {
	if closing != nil {
		c.closed = true
		c.writeErr = closing
		c.deadline.stop()
		c.finish()
	}
	if flags&shutReceive != 0 {
		c.recv.drop(closing != nil)
	}
	if flags&shutSend != 0 {
		c.endWrites(syscall.EPIPE)
	}
	if c.state > lingering || c.shut|flags == c.shut {
		return
	}
	c.shut |= flags
	c.want(pendShutdown)
	c.afterShutdown()
}

// shutPeer takes SHUTDOWN of the other side.
func (c *Conn) shutPeer(flags uint32) {
	c.peerShut |= flags
	if flags&shutReceive != 0 {
		c.endWrites(syscall.EPIPE)
	}
	if flags&shutSend != 0 {
		c.recv.end(nil)
	}
	c.afterShutdown()
}

// afterShutdown ends the connection if the other side closed both directions
// and nothing is left to read, else lets it linger once neither direction can
// carry data.
func (c *Conn) afterShutdown() {
	if c.peerShut == shutBoth && c.recv.finish() {
		c.beginReset(ReasonNone)
		return
	}
	receives := c.peerShut&shutSend == 0 && c.shut&shutReceive == 0
	sends := c.peerShut&shutReceive == 0 && c.shut&shutSend == 0
	if c.state == established && !receives && !sends {
		c.state = lingering
		c.until = time.Now().Add(lingerTime)
		c.s.linger.push(&c.inTimed)
	}
}

// settleShutdown is afterShutdown for the reader that took the last byte.
func (c *Conn) settleShutdown() {
	if c.state <= lingering {
		c.afterShutdown()
	}
}

// endWrites stops the Write going on and all that follow. The first error stays.
func (c *Conn) endWrites(err error) {
	if c.writeErr == nil {
		c.writeErr = err
	}
	c.stopWrite()
}

// end lets this side see err: at once in Write and Dial, after what is buffered
// in Read. A direction that was shut before keeps its end.
func (c *Conn) end(err *ResetError) {
	news := c.recv.end(err)
	if (news || c.writeErr == nil) && c.lost == nil {
		c.lost = err
	}
	c.endWrites(err)
}

// beginReset sends RST instead of all that is pending. The tuple stays taken
// until it is in the ring, so that those not yet sent are bounded too.
func (c *Conn) beginReset(r Reason) {
	if c.state >= resetting {
		return
	}
	if c.open && c.pending&pendRequest != 0 {
		c.gone() // the other side has not heard of it
		return
	}
	c.finish()
	c.state, c.reason = resetting, r
	c.inTimed.leave()
	c.pending = 0
	c.stopWrite()
	c.want(pendReset)
}

// reset implements owner.
func (c *Conn) reset(r Reason) {
	if c.state < resetting {
		c.end(&ResetError{Reason: r, Dial: c.state == dialing})
		c.beginReset(r)
	}
}

// resetByPeer takes RST. For a direction that was shut before it is how an
// orderly connection ends, else it is a loss.
func (c *Conn) resetByPeer(r Reason) {
	dial := c.state == dialing
	if dial && r == ReasonNone {
		r = ReasonRefused // a kernel gives no reasons
	}
	c.end(&ResetError{Reason: r, Dial: dial})
	c.gone()
}

// linkEnded implements owner.
func (c *Conn) linkEnded(err *ResetError) {
	if c.state == dialing && c.pending&pendRequest != 0 {
		err = err.unsent()
	}
	c.end(err)
	c.gone()
}

// expire implements tenant.
func (c *Conn) expire() { c.beginReset(ReasonNone) }

// gone takes the connection out of everything but its user's hands.
func (c *Conn) gone() {
	if c.state == gone {
		return // the tuple may be another's by now
	}
	c.detach()
	c.s.leave(c.key)
}

// detach is gone for a connection whose tuple goes on without it.
func (c *Conn) detach() {
	c.finish()
	c.state = gone
	c.pending = 0
	c.inControl.leave()
	c.inTimed.leave()
	c.stopWrite()
	c.recv.settle()
}

// ask implements owner.
func (c *Conn) ask() bool {
	if c.state != established || !c.open {
		return false
	}
	c.want(pendCreditRequest)
	return true
}

// info implements owner.
func (c *Conn) info() ConnInfo {
	return ConnInfo{Local: c.key.local, Remote: c.key.remote, Incoming: c.incoming, State: c.state.String()}
}
