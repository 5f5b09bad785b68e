package mux

import "math/bits"

// send passes on what the local end has sent; REQUEST never comes here. The caller
// holds mu.
func (t *relayed) send(p Packet, payload []byte) error {
	if p.Op == opReset {
		// What was sent before it is not lost by it.
		t.beginReset(Reason(p.Flags), pendResponse|pendShutdown)
		t.s.tx.drain()
		return nil
	}
	asked := t.state == dialing
	switch {
	case t.state >= resetting:
		return nil // its Relay knows
	case asked && t.incoming && p.Op != opResponse:
		return nil // of a connection that the other side has ended, before this one
	case p.Type != t.typ, (p.Op == opResponse) != asked, asked && !t.incoming:
		t.withdraw(ReasonProtocol)
		t.s.tx.drain()
		return &ResetError{Reason: ReasonProtocol}
	}
	t.stamp(p)
	if p.Op == opData {
		return t.sendAll(payload, p.Flags)
	}
	t.control(p)
	t.s.tx.drain()
	return nil
}

// control notes a frame without payload.
func (t *relayed) control(p Packet) {
	switch p.Op {
	case opResponse:
		t.become(established)
		t.want(pendResponse)
	case opShutdown:
		t.shut |= p.Flags
		t.want(pendShutdown)
		t.afterShutdown()
	case opCreditUpdate:
		t.want(pendCreditUpdate)
	case opCreditRequest:
		t.want(pendCreditRequest)
	}
}

// sendAll waits until all of the payload is in the ring, or nobody wants it any more.
func (t *relayed) sendAll(payload []byte, flags uint32) error {
	t.out, t.outFlags, t.waiting = payload, flags, true
	t.s.tx.data.push(&t.inData)
	t.s.tx.drain()
	if t.waiting {
		// The other side hears of what is in the ring, and of the wish for room.
		t.s.unlock()
		t.s.mu.Lock()
	}
	for t.waiting {
		t.cond.Wait()
	}
	return nil // if the connection has ended, its Relay knows
}

// stopSend ends the Send going on.
func (t *relayed) stopSend() {
	t.inData.leave()
	t.out, t.waiting = nil, false
	t.cond.Broadcast()
	t.s.rouse(&t.lane)
}

// nextData implements tenant. The receiver's credit is its sender's to keep.
func (t *relayed) nextData(most int) (int, bool) { return min(len(t.out), most), true }

// sendData implements tenant. What a turn has no room for goes in frames of its own;
// the flags, which end a message, are the last one's.
func (t *relayed) sendData(x *sender, n int) bool {
	h := t.header(opData)
	if n == len(t.out) {
		h.flags = t.outFlags
	}
	if !x.emit(h, t.out[:n]) {
		return false
	}
	t.share.add(x, t.key, frameSize(n))
	t.sent += uint32(n)
	t.pending &^= pendCreditUpdate
	if t.out = t.out[n:]; len(t.out) > 0 {
		x.data.rotate()
		return true
	}
	t.stopSend()
	return true
}

// header returns a header with the last stamp of the local end.
func (t *relayed) header(op uint16) header {
	return header{src: t.key.local, dst: t.key.remote, typ: t.typ, op: op, bufAlloc: t.bufAlloc, fwdCnt: t.fwdCnt}
}

// want adds control frames to those that wait.
func (t *relayed) want(p pendings) {
	t.pending |= p
	t.s.tx.control.push(&t.inControl)
}

// sendControl implements tenant.
func (t *relayed) sendControl(x *sender) bool {
	for t.pending != 0 {
		i := bits.TrailingZeros8(uint8(t.pending))
		h := t.header(pendingOps[i])
		switch h.op {
		case opShutdown:
			h.flags = t.shut
		case opReset:
			h.flags = uint32(t.reason)
		}
		if !x.emit(h, nil) {
			return false
		}
		t.pending &^= 1<<i | pendCreditUpdate
		if h.op == opReset {
			t.gone()
		}
	}
	return true
}
