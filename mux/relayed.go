package mux

import (
	"slices"
	"sync"
	"time"
)

// answerTime bounds how long a relayed REQUEST may stay unanswered. A program's
// connect gives up after 2 s unless it says otherwise, and its kernel tells nobody.
const answerTime = 30 * time.Second

// relayed is a tuple whose connection ends in a Relay, not here: it holds no byte of
// it, and no credit. What a kernel checks itself is left to it.
//
//	Send(REQUEST)         REQUEST of the other side
//	      |                           |
//	      +--------> dialing <--------+
//	                    | RESPONSE of who was asked (after 30 s: reset)
//	                    v
//	               established
//	                    | both directions shut
//	                    v
//	                lingering
//	                    | 8 s
//	                    v
//	                resetting <--- Send(RST), Withdraw, Reset, a lie, revocation
//	                    | RST is in the ring
//	                    v
//	                  gone    <--- RST received, link ended (from anywhere)
//
// The tuple is in the table in every state but gone. In resetting, frames are
// dropped and packets of the local end refused.
//
// Order: a Send with data waits, and so its Relay sends nothing else meanwhile.
// Pending control frames were sent before it and go before it. All take the last
// stamp when they enter the ring, so no frame carries an older one past a newer.
type relayed struct {
	lane
	s        *Session
	relay    Relay
	typ      uint16
	incoming bool

	// What follows is guarded by Session.mu.

	state    state
	pending  pendings
	reason   Reason // of the pending RST
	shut     uint32 // SHUTDOWN flags of the local end
	peerShut uint32 // SHUTDOWN flags of the other side

	bufAlloc, fwdCnt uint32 // last stamp of the local end

	peer  peerCredit // last stamp of the other side
	sent  uint32     // bytes of data that went into the ring, wraps
	asked bool       // the Relay was given CREDIT_REQUEST, and has sent nothing since

	out      []byte // what is left of the Send going on
	outFlags uint32 // of its last frame
	waiting  bool   // a Send is going on
	cond     sync.Cond

	withdrawn bool // the Relay wants no frame any more, not even RST
}

func newRelayed(s *Session, r Relay, k tuple, typ uint16, incoming bool) *relayed {
	t := &relayed{s: s, relay: r, typ: typ, incoming: incoming}
	t.lane.init(k, t)
	t.cond.L = &s.mu
	t.awaitAnswer()
	s.relays.Add(1)
	if incoming {
		s.unanswered++
	}
	return t
}

// awaitAnswer begins the time that REQUEST may stay unanswered, perhaps anew.
func (t *relayed) awaitAnswer() {
	t.inTimed.leave()
	t.until = time.Now().Add(answerTime)
	t.s.asked.push(&t.inTimed)
}

// become moves the tuple to another state.
func (t *relayed) become(st state) {
	if t.state == dialing && st != dialing {
		t.inTimed.leave()
		if t.incoming {
			t.s.unanswered--
		}
	}
	t.state = st
}

// stamp notes the credit that a packet of the local end tells of.
func (t *relayed) stamp(p Packet) { t.bufAlloc, t.fwdCnt, t.asked = p.BufAlloc, p.FwdCnt, false }

// learn makes of a frame's credit what the Relay may hear, and returns false if it
// acknowledges more than was sent: the kernel would take that for room, without bound
// (rule R7). A fwd_cnt that went back is taken for the last one, see peerCredit.
func (t *relayed) learn(h *header) bool {
	if !t.peer.learn(h.bufAlloc, h.fwdCnt, t.sent) {
		return false
	}
	h.fwdCnt = t.peer.acknowledged()
	return true
}

// curb turns CREDIT_REQUEST, which the kernel answers with a packet, into an update if
// the answer to the one before has not been sent yet. While a Send waits none is taken
// from the kernel, so that its memory would be the other side's to fill (rule R7).
func (t *relayed) curb(h *header) {
	if h.op == opCreditRequest && t.asked {
		h.op = opCreditUpdate
	}
	t.asked = t.asked || h.op == opCreditRequest
}

// packet is one of the connection, without payload.
func (t *relayed) packet(op uint16) Packet {
	return Packet{Local: t.key.local, Remote: t.key.remote, Type: t.typ, Op: op}
}

// frame implements owner. It runs in the pump.
func (t *relayed) frame(h header, a, b []byte) bool {
	var wrong string
	var pass bool
	t.s.withLock(func() { pass, wrong = t.receive(&h) })
	if wrong != "" {
		t.lied(wrong)
	}
	return !pass || t.s.deliver(t, h, a, b)
}

// receive judges a frame and says whether the Relay is to have it, and what is wrong
// with it otherwise. The state moves before the Relay sees the frame, as its answer
// may come before Deliver returns. What the Relay is not to hear is taken out of h.
func (t *relayed) receive(h *header) (pass bool, wrong string) {
	switch {
	case h.op == opReset:
		pass = t.state < resetting // else RST is on its way, and was told
		t.s.leaving = t
		t.gone()
		return pass, ""
	case t.state >= resetting:
		return false, ""
	case h.typ != t.typ:
		return false, "a frame of another type than the connection's"
	case h.op == opRequest:
		return false, "REQUEST on a taken tuple"
	case (t.state == dialing) != (h.op == opResponse), h.op == opResponse && !t.requested():
		return false, "a frame out of order"
	case !t.learn(h):
		return false, "more acknowledged than sent"
	case h.op == opResponse:
		t.become(established)
	case h.op == opShutdown:
		t.peerShut |= h.flags
		t.afterShutdown()
	}
	t.curb(h)
	return true, ""
}

// requested says whether the other side has been sent the REQUEST and not answered it.
func (t *relayed) requested() bool {
	return t.state == dialing && !t.incoming && t.pending&pendRequest == 0
}

// afterShutdown lets the tuple linger once neither direction can carry data.
func (t *relayed) afterShutdown() {
	receives := t.peerShut&shutSend == 0 && t.shut&shutReceive == 0
	sends := t.peerShut&shutReceive == 0 && t.shut&shutSend == 0
	if t.state == established && !receives && !sends {
		t.become(lingering)
		t.until = time.Now().Add(lingerTime)
		t.s.linger.push(&t.inTimed)
	}
}

// expire implements tenant.
func (t *relayed) expire() { t.reset(ReasonNone) }

// reset implements owner: both ends are told.
func (t *relayed) reset(r Reason) {
	if t.state < resetting {
		t.tellReset(r)
		t.withdraw(r)
	}
}

func (t *relayed) tellReset(r Reason) {
	p := t.packet(opReset)
	p.Flags = uint32(r)
	t.relay.Reset(p)
}

// withdraw ends the tuple with RST to the other side, instead of all that is pending.
func (t *relayed) withdraw(r Reason) {
	t.beginReset(r, 0)
}

// beginReset sends RST after those of the pending frames that are to be kept. The
// tuple stays taken until it is in the ring, so that those not yet sent are bounded.
func (t *relayed) beginReset(r Reason, keep pendings) {
	if t.state >= resetting {
		return
	}
	if t.pending&pendRequest != 0 {
		t.gone() // the other side has not heard of it
		return
	}
	t.become(resetting)
	t.reason = r
	t.inTimed.leave()
	t.stopSend()
	t.pending &= keep
	t.want(pendReset)
	t.s.wakeFor(t)
}

// lied ends the connection because of a frame no honest side sends.
func (t *relayed) lied(why string) {
	t.s.withLock(func() { t.reset(ReasonProtocol) })
	t.s.logLie(t.key, why)
}

// linkEnded implements owner. Who waits for an answer, or has shut both directions,
// is told of the end of that connection; others have lost something.
func (t *relayed) linkEnded(*ResetError) {
	switch t.state {
	case dialing, lingering:
		t.tellReset(ReasonNone)
	case established:
		t.s.tellLost(t.relay)
	}
	t.gone()
}

// tellLost tells a Relay once that the link has ended.
func (s *Session) tellLost(r Relay) {
	if !slices.Contains(s.lost, r) {
		s.lost = append(s.lost, r)
		r.Lost()
	}
}

// gone takes the tuple out of everything.
func (t *relayed) gone() {
	if t.state == gone {
		return // the tuple may be another's by now
	}
	t.become(gone)
	t.pending = 0
	t.inControl.leave()
	t.inTimed.leave()
	t.stopSend()
	t.s.relays.Add(-1)
	t.s.leave(t.key)
	t.s.wakeFor(t)
}

// ask implements owner.
func (t *relayed) ask() bool {
	if t.state != established {
		return false
	}
	t.want(pendCreditRequest)
	return true
}

// info implements owner.
func (t *relayed) info() ConnInfo {
	return ConnInfo{Local: t.key.local, Remote: t.key.remote, Incoming: t.incoming, Relayed: true, State: t.state.String()}
}
