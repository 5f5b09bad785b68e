package manager

import (
	"xvsock/manager/policy"
	"xvsock/mux"
	"xvsock/vsock"
)

// Admit implements vsock.Guard for the front links: it decides about connections
// between a frontend and this domain.
func (m *Manager) Admit(r vsock.Request) (mux.Permit, mux.Reason) {
	way, rule, reason := m.judge(r)
	if rule != nil || reason != mux.ReasonNone {
		m.speak(r.Peer, way, r.Port())
	}
	if reason != mux.ReasonNone || rule == nil {
		return nil, reason
	}
	p, ok := m.meter.Admit(way.src, rule.Limits())
	if !ok {
		return nil, mux.ReasonBudget
	}
	return p, mux.ReasonNone // p may be nil, and then does nothing
}

// Review implements vsock.Guard. A connection that another rule allows now counts
// for that one.
func (m *Manager) Review(r vsock.Request, p mux.Permit) (mux.Permit, mux.Reason) {
	way, rule, reason := m.judge(r)
	if reason != mux.ReasonNone {
		return nil, mux.ReasonRevoked
	}
	held, _ := p.(*policy.Permit)
	var limits policy.Limits
	if rule != nil {
		limits = rule.Limits()
	}
	return m.meter.Move(held, way.src, limits), mux.ReasonNone
}

// wayOf is from where to where a connection over a front link goes. The caller holds
// mu.
func (m *Manager) wayOf(r vsock.Request) route {
	if r.Incoming {
		return route{r.Peer, m.self.ID}
	}
	return route{m.self.ID, r.Peer}
}

// judge returns the way of a connection and the rule that allows it, or nil if it is
// built in; or why it is not allowed.
func (m *Manager) judge(r vsock.Request) (route, *policy.Rule, mux.Reason) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, way := m.frontends[r.Peer], m.wayOf(r)
	switch {
	case r.Kind != vsock.ToFrontend, f == nil, f.detached, f.link == nil, f.link.Serial() != r.Serial:
		// Not a link of whoever has this id now (rule R14).
		return way, nil, mux.ReasonUnreachable
	case r.Incoming && policy.BuiltinToBackend(r.Local), !r.Incoming && policy.BuiltinToFrontend(r.Local, r.Remote):
		return way, nil, mux.ReasonNone
	}
	t := m.tables[way]
	if t == nil {
		return way, nil, mux.ReasonUnreachable
	}
	if rule := t.Find(r.Port()); rule != nil {
		return way, rule, mux.ReasonNone
	}
	return way, nil, mux.ReasonDenied
}
