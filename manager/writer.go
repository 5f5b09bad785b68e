package manager

import (
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
)

// reply is a CONNECT_rsp that waits to be sent.
type reply struct {
	port1.ConnectRsp
	request *request // of which it is OK, or which it has crossed
}

// rouse lets the writer look for work.
func (c *conversation) rouse() {
	select {
	case c.work <- struct{}{}:
	default:
	}
}

// answer sends a CONNECT_rsp. There is room for it: see replies. The caller holds
// mu.
func (c *conversation) answer(r reply) {
	c.replies = append(c.replies, r)
	c.rouse()
}

// write sends what is to be sent until the conversation is left.
func (c *conversation) write() {
	for range c.work {
		for {
			batch, left := c.nextBatch()
			if left {
				return
			}
			if len(batch) == 0 {
				break
			}
			if err := c.port1.Write(batch); err != nil {
				// A frontend that takes nothing is as good as gone.
				c.end(err)
				return
			}
			select {
			case c.room <- struct{}{}:
			default:
			}
		}
	}
}

// nextBatch makes the messages that are to be sent next, in one buffer that is good
// until the next call.
//
// What a frontend may do is told before anything that goes by it, and the
// CONNECT_ind of a request that crosses its own before the answer CROSSED.
func (c *conversation) nextBatch() (batch []byte, left bool) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.left {
		return nil, true
	}
	c.catchUp()
	c.batch = c.appendDue(c.batch[:0])
	if len(c.due) > 0 {
		return c.batch, false
	}
	if c.hello != nil && c.complete() {
		c.batch = c.hello.Append(c.batch)
		c.hello = nil
		c.gather.Stop()
	}
	c.batch = c.appendInds(c.batch)
	for i := range c.replies {
		c.batch = c.m.confirmReply(c, &c.replies[i]).Append(c.batch)
	}
	c.replies = c.replies[:0]
	return c.batch, false
}

// awaitConfirm returns the id of a new PEER, whose PEER_ack is waited for from now
// on. The caller holds mu.
func (c *conversation) awaitConfirm() uint64 {
	id := randomID()
	if len(c.unacked) == 0 {
		c.confirm.Reset(confirmTime)
	}
	c.unacked[id] = time.Now()
	return id
}

// onPeerAck notes that the frontend goes by a PEER.
func (c *conversation) onPeerAck(a port1.PeerAck) error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if _, sent := c.unacked[a.ID]; !sent {
		return forged("peer ack of %#x: no such PEER, or confirmed already", a.ID)
	}
	delete(c.unacked, a.ID)
	if len(c.unacked) == 0 {
		c.confirm.Stop()
	}
	return nil
}

// checkConfirmed ends the link of a frontend that has not confirmed a PEER in time:
// what that forbids may go on there.
func (c *conversation) checkConfirmed() {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.left || len(c.unacked) == 0 {
		return
	}
	now := time.Now()
	oldest := now
	for _, sent := range c.unacked {
		if sent.Before(oldest) {
			oldest = sent
		}
	}
	if rest := confirmTime - now.Sub(oldest); rest > 0 {
		c.confirm.Reset(rest)
		return
	}
	c.link.End(link.Lost, errUnconfirmed)
}

// unconfirmed is how many PEERs are yet to be sent or to be confirmed. The caller
// holds mu.
func (c *conversation) unconfirmed() int { return len(c.due) + len(c.unacked) }

// confirmed reports whether the frontend goes by what is allowed now. One that was
// detached has no rights any more, and is not asked. The caller holds mu.
func (f *frontend) confirmed() bool {
	c := f.talk
	return f.detached || c != nil && c.greeted && c.hello == nil && !c.behind && c.unconfirmed() == 0
}
