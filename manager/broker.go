package manager

import (
	"slices"
	"time"

	"xvsock/manager/port1"
	"xvsock/xen"
)

// answerTime is how long a responder has for its CONNECT_ack, from the request on.
const answerTime = 4 * time.Second

// maxUnanswered is how many CONNECT_inds a frontend may owe an answer to. It has to
// answer each one, also when it is too late, and who is asked no more than that has
// no answer forgotten and taken for forged.
const maxUnanswered = 64

// decide says whether a frontend may have a link to another domain, for a port
// there. That there is no such domain and that nothing is allowed there look alike
// on purpose. It allocates nothing. The caller holds mu.
func (m *Manager) decide(f *frontend, to xen.DomID, attachment port1.Attachment, port uint32) port1.Result {
	dst, self := m.frontends[to], m.self.ID
	if dst == nil || to == self || f.id == self || dst.attachment != attachment {
		return port1.Unreachable
	}
	t := m.tables[route{f.id, to}]
	switch {
	case t == nil:
		return port1.Unreachable
	case t.Find(port) == nil:
		return port1.Denied
	}
	return port1.OK
}

// stillAllowed decides about a request again. The caller holds mu.
func (m *Manager) stillAllowed(r *request) port1.Result {
	if r.initiator.f.attachment != r.from {
		return port1.Unreachable
	}
	return m.decide(r.initiator.f, r.req.Domain, r.to, r.req.Port)
}

// onConnectReq takes a frontend's request for a link. What is refused is answered
// from what is there, without an allocation.
func (m *Manager) onConnectReq(c *conversation, q port1.ConnectReq) error {
	m.speak(c.f.id, route{c.f.id, q.Domain}, q.Port)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case c.left:
		return errEnded
	case !c.greeted:
		return forged("connect req before HELLO")
	}
	state, r := m.stateOf(pairOf(c.f.id, q.Domain))
	if state == indicated && r.initiator == c {
		return forged("connect req to domain %v: one is not answered yet", q.Domain)
	}
	result := m.decide(c.f, q.Domain, q.Attachment, q.Port)
	if result == port1.OK {
		result = m.affordable(c, m.frontends[q.Domain], state)
	}
	switch result {
	case port1.OK:
		m.indicate(c, m.frontends[q.Domain].talk, q)
		return nil
	case port1.Denied, port1.Unreachable, port1.Budget:
		c.f.denied.Add(1)
	}
	c.answer(reply{ConnectRsp: port1.ConnectRsp{ID: q.ID, Result: result}, request: r})
	return nil
}

// affordable says what else keeps an allowed request from being brokered now. The
// caller holds mu.
func (m *Manager) affordable(c *conversation, dst *frontend, state pairState) port1.Result {
	switch {
	case state == indicated:
		return port1.Crossed
	case dst.talk == nil || !dst.talk.greeted:
		return port1.ShuttingDown
	case c.halfOpen >= m.cfg.Budgets.HalfOpen,
		!c.f.mayLink(dst, m.cfg.Budgets.Links), !dst.mayLink(c.f, port1.MaxLinks):
		return port1.Budget
	}
	return port1.OK
}

// indicate has the responder asked: the pair is indicated now. The caller holds mu.
func (m *Manager) indicate(initiator, responder *conversation, q port1.ConnectReq) {
	r := &request{
		pair: pairOf(initiator.f.id, q.Domain), initiator: initiator, responder: responder,
		from: initiator.f.attachment, to: q.Attachment, req: q, id: randomID(),
	}
	r.timer = time.AfterFunc(answerTime, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.pairs[r.pair] == r {
			m.finish(r, port1.TimedOut, port1.Terms{})
		}
	})
	m.pairs[r.pair] = r
	initiator.halfOpen++
	responder.indicating = append(responder.indicating, r)
	responder.rouse()
}

// appendInds appends the CONNECT_inds that the frontend is to be sent, if they are
// still to be. The caller holds mu.
func (c *conversation) appendInds(batch []byte) []byte {
	for len(c.indicating) > 0 && len(c.unanswered) < maxUnanswered {
		r := c.indicating[0]
		if result := c.m.stillAllowed(r); result != port1.OK {
			c.m.finish(r, result, port1.Terms{})
			continue
		}
		c.indicating = slices.Delete(c.indicating, 0, 1)
		r.sent = true
		c.unanswered[r.id] = r
		// What the initiator wants is limited to what it may.
		from, to := r.initiator.f.id, c.f.id
		r.req.Terms.Access = min(r.req.Terms.Access, accessOf(c.m.tables[route{from, to}], c.m.tables[route{to, from}]))
		batch = port1.ConnectInd{
			ID: r.id, Domain: from, Attachment: r.from, Port: r.req.Port, Terms: r.req.Terms,
		}.Append(batch)
	}
	return batch
}

// onConnectAck takes a responder's answer.
func (m *Manager) onConnectAck(c *conversation, a port1.ConnectAck) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, asked := c.unanswered[a.ID]
	if c.left {
		return errEnded
	}
	if !asked {
		return forged("connect ack of %#x: no such CONNECT_ind, or answered already", a.ID)
	}
	delete(c.unanswered, a.ID)
	if len(c.indicating) > 0 {
		c.rouse() // for those that wait because so many were unanswered
	}
	if r == nil {
		c.f.late.Add(1)
		return nil
	}
	if a.Result != port1.OK {
		m.finish(r, a.Result, port1.Terms{})
		return nil
	}
	if wanted := r.req.Terms; a.Terms.Generation != wanted.Generation || a.Terms.Access > wanted.Access {
		m.finish(r, port1.Refused, port1.Terms{})
		return forged("connect ack of %#x: another generation or access than was asked for", a.ID)
	}
	if result := m.stillAllowed(r); result != port1.OK {
		m.finish(r, result, port1.Terms{})
		return nil
	}
	m.linked(r)
	m.finish(r, port1.OK, a.Terms)
	return nil
}

// confirmReply returns a reply as it is to be sent now. A link that is not allowed
// any more since the responder has agreed is not to be: the frontend may have been
// told so already. And where the request that was crossed has ended before the
// frontend was told of it, there is nothing to wait for. The caller holds mu.
func (m *Manager) confirmReply(c *conversation, r *reply) port1.ConnectRsp {
	result := r.Result
	switch {
	case result == port1.OK:
		if result = m.stillAllowed(r.request); result != port1.OK {
			c.f.dropClaim(r.Terms.Generation)
		}
	case result == port1.Crossed && !r.request.sent:
		result = port1.Refused
	}
	if result != r.Result {
		return port1.ConnectRsp{ID: r.ID, Result: result}
	}
	return r.ConnectRsp
}
