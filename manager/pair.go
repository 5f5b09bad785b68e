package manager

import (
	"slices"
	"time"

	"xvsock/manager/port1"
	"xvsock/xen"
)

// pair is two domains, whoever asks for the link. Requests of a pair are served one
// after the other: that is what makes one link of two requests that cross.
type pair struct{ low, high xen.DomID }

func pairOf(a, b xen.DomID) pair { return pair{min(a, b), max(a, b)} }

// pairState is where the brokering of a link between two domains stands. The model
// of the handshake (manager/model) has the same names.
//
//	            CONNECT_req, allowed
//	quiet ----------------------------------> indicated
//	  ^  CONNECT_ack: CONNECT_rsp                 |
//	  |  no CONNECT_ack in answerTime: TIMED OUT  |
//	  |  not allowed any more: CONNECT_rsp        |
//	  |  either conversation has ended            |
//	  +-------------------------------------------+
//
// In quiet, a CONNECT_req that is not allowed is answered and leaves all as it is.
// In indicated, one the other way round is answered CROSSED, and one more the same
// way is forged. A CONNECT_ack that is still to come in quiet is remembered, and
// dropped when it does.
//
// Whether it is allowed is decided when the request comes, when CONNECT_ind is sent,
// when CONNECT_ack comes, and when CONNECT_rsp is sent, each time for the same two
// attachments (rule R9).
type pairState uint8

const (
	quiet pairState = iota
	indicated
)

// request is what an indicated pair is about.
type request struct {
	pair                 pair
	initiator, responder *conversation
	from, to             port1.Attachment
	req                  port1.ConnectReq // the initiator's
	id                   uint64           // of the CONNECT_ind
	sent                 bool             // the responder knows of it
	timer                *time.Timer
}

// stateOf is the state of a pair, and what it is about if it is indicated. The
// caller holds mu.
func (m *Manager) stateOf(p pair) (pairState, *request) {
	if r := m.pairs[p]; r != nil {
		return indicated, r
	}
	return quiet, nil
}

// finish answers a request: its pair is quiet again. The caller holds mu.
func (m *Manager) finish(r *request, result port1.Result, terms port1.Terms) {
	delete(m.pairs, r.pair)
	r.timer.Stop()
	r.initiator.halfOpen--
	to := r.responder
	switch {
	case !r.sent:
		to.indicating = slices.DeleteFunc(to.indicating, func(q *request) bool { return q == r })
	case to.unanswered[r.id] == r:
		to.unanswered[r.id] = nil // the answer will be too late
	}
	if !r.initiator.left {
		r.initiator.answer(reply{
			ConnectRsp: port1.ConnectRsp{ID: r.req.ID, Result: result, Terms: terms}, request: r,
		})
	}
}

// abandon ends the requests that a conversation which is left was part of. The
// caller holds mu.
func (m *Manager) abandon(c *conversation) {
	for _, r := range m.pairs {
		if r.initiator == c || r.responder == c {
			m.finish(r, port1.ShuttingDown, port1.Terms{})
		}
	}
}
