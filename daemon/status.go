package daemon

import (
	"context"
	"fmt"
	"strconv"

	"xvsock/manager"
	"xvsock/manager/port1"
	"xvsock/services"
	"xvsock/services/varlink"
	"xvsock/vsock"
	"xvsock/xen"
)

// What State says of a link that is not a peer's.
const (
	linkUp   = "up"
	linkDown = "down"
)

// describe implements role.
func (b *backend) describe(s *Status) {
	s.Role = "backend"
	up := linksUp(b.stack)
	frontends := b.manager.Frontends()
	names := make(map[xen.DomID]string, len(frontends))
	for _, f := range frontends {
		names[f.Domain] = f.Name
	}
	for _, f := range frontends {
		l := Link{
			Domain: uint16(f.Domain), Name: f.Name, UUID: f.UUID, Up: f.Up, State: linkDown,
			Kind: vsock.ToFrontend.String(), Tags: f.Tags, Twin: f.Twin, TwinUUID: f.TwinUUID, Use: useOf(f),
		}
		if f.Up {
			l.State = linkUp
		}
		for _, p := range f.Links {
			l.Links = append(l.Links, PeerLink{Domain: uint16(p.Peer), Name: names[p.Peer], Generation: hex(p.Generation)})
		}
		l.carry(up[f.Domain])
		s.Links = append(s.Links, l)
	}
	s.Budgets = budgetsOf(b.manager.Budgets())
	s.Policy = b.policyState()
}

// describe implements role.
func (f *frontend) describe(s *Status) {
	s.Role = "frontend"
	up := linksUp(f.stack)
	if last := f.last.Load(); last != nil {
		l := Link{Domain: uint16(*last), Backend: true, Kind: vsock.ToBackend.String(), State: linkDown}
		if v := up[*last]; v.Serial != 0 && v.Kind == vsock.ToBackend {
			l.Up, l.State = true, linkUp
			l.carry(v)
		}
		s.Links = append(s.Links, l)
	}
	for _, p := range f.peers.Peers() {
		l := Link{
			Domain: uint16(p.Domain), Name: p.Name, UUID: p.UUID, Up: p.State == linkUp,
			Kind: vsock.ToPeer.String(), State: p.State, Out: ports(p.Out), In: ports(p.In),
		}
		if l.Up {
			l.Generation = hex(p.Generation)
		}
		if v := up[p.Domain]; v.Kind == vsock.ToPeer {
			l.carry(v)
		}
		s.Links = append(s.Links, l)
	}
}

var (
	_ role = (*backend)(nil)
	_ role = (*frontend)(nil)
)

// linksUp are the links that are up, by domain.
func linksUp(stack *vsock.Stack) map[xen.DomID]vsock.Peer {
	up := make(map[xen.DomID]vsock.Peer)
	for _, p := range stack.Peers() {
		up[p.Domain] = p
	}
	return up
}

// carry fills in what the link carries.
func (l *Link) carry(p vsock.Peer) {
	l.Connections, l.Pages = p.Conns, p.Pages
	if p.Serial != 0 { // there is a link
		l.Access = p.Access.String()
	}
}

// hex is how a generation is told.
func hex(generation uint64) string { return fmt.Sprintf("%016x", generation) }

// ports are ranges as people write them.
func ports(ranges []port1.Range) []string {
	out := make([]string, 0, len(ranges))
	for _, r := range ranges {
		text := services.FormatPort(r.First)
		switch {
		case r.First == services.PortDiscovery && !services.ValidPort(r.Last+1):
			text = "*"
		case r.Last != r.First:
			text = strconv.FormatUint(uint64(r.First), 10) + "-" + strconv.FormatUint(uint64(r.Last), 10)
		}
		out = append(out, text)
	}
	return out
}

// useOf is what a frontend uses of its budgets.
func useOf(f manager.Frontend) *Use {
	return &Use{
		Requests: f.Use.Requests, HalfOpen: f.Use.HalfOpen, Links: f.Use.Links,
		Unconfirmed: f.Unconfirmed, Denied: f.Denied, Late: f.Late, Delayed: f.Delayed,
	}
}

// budgetsOf are the budgets as they are told.
func budgetsOf(b manager.Budgets) *Budgets {
	return &Budgets{
		Requests: b.Requests, Burst: b.Burst, HalfOpen: b.HalfOpen, Links: b.Links,
		Connections: b.Connections, Registrations: b.Registrations,
	}
}

// policyState is what is in force.
func (b *backend) policyState() *PolicyState {
	s := &PolicyState{}
	if b.cfg.Rules != nil {
		in := b.cfg.Rules.State()
		s.Source, s.Version, s.Rules, s.Since, s.Error = in.Source, in.Version, in.Rules, in.Since, in.Error
	}
	_, s.Unconfirmed = b.manager.Progress()
	return s
}

// policy answers MethodPolicy.
func (b *backend) policy(_ context.Context, call *varlink.Call) (any, error) {
	reply := PolicyReply{Unconfirmed: []uint16{}}
	if b.cfg.Rules != nil {
		in := b.cfg.Rules.State()
		reply.Source, reply.Version, reply.Since = in.Source, in.Version, in.Since
		reply.Error, reply.RefusedSince = in.Error, in.RefusedSince
	}
	for _, f := range b.manager.Frontends() {
		if !f.Confirmed {
			reply.Unconfirmed = append(reply.Unconfirmed, uint16(f.Domain))
		}
	}
	for _, r := range b.manager.Rules() {
		reply.Rules = append(reply.Rules, PolicyRule{File: r.File, Line: r.Line, Text: r.Text})
	}
	for _, d := range b.manager.Domains() {
		reply.Domains = append(reply.Domains, PolicyDomain{
			Domain: uint16(d.ID), Name: d.Name, UUID: d.UUID, Tags: d.Tags, Backend: d.Backend,
		})
	}
	return reply.Answer(call)
}
