package link

import (
	"errors"
	"fmt"

	"xvsock/evtchn"
	"xvsock/grant"
	"xvsock/ring"
	"xvsock/xen"
)

// stake is what this domain has put into one link, or into the attempt at one:
// pages granted to peer, event channels bound for it, and pages of peer that are
// mapped, each in the order in which they came. Whoever holds a stake ends it once,
// by release or by undo.
type stake struct {
	dom      *Domain
	peer     xen.DomID
	ledger   *Ledger
	pages    []grant.Pages
	channels []evtchn.Channel
	mappings []grant.Mapping
}

// share grants n more pages; what names them in the error.
func (s *stake) share(what string, n int, access grant.Access) (grant.Pages, error) {
	p, err := s.dom.Grants.Share(s.peer, n, access)
	if err != nil {
		return nil, fmt.Errorf("grant %s: %w", what, err)
	}
	s.pages = append(s.pages, p)
	return p, nil
}

// header grants the header page, the first of all pages, and arranges the death
// signal: when the grant ends, by us or with this process, the state byte goes to
// 0 and the other end of port gets an event. In a domain that may be suspended there
// is no event: after a resume the kernel would close whatever has that port's number,
// which may be its own. The other side then hears of an end in order by release, and
// finds a death by its probe.
func (s *stake) header(port xen.Port) (grant.Pages, error) {
	p, err := s.share("header page", 1, grant.ReadOnly)
	if err != nil {
		return nil, err
	}
	if s.dom.Suspends {
		err = p.ClearOnRevoke(ring.StateOffset)
	} else {
		err = p.OnRevoke(ring.StateOffset, port)
	}
	if err != nil {
		return nil, fmt.Errorf("arrange the death signal: %w", err)
	}
	return p, nil
}

// unbound allocates an event channel that peer may bind.
func (s *stake) unbound(what string) (evtchn.Channel, error) {
	c, err := s.dom.Events.Unbound(s.peer)
	if err != nil {
		return nil, fmt.Errorf("allocate event channel of %s: %w", what, forbidden(err))
	}
	s.channels = append(s.channels, c)
	return c, nil
}

// interdomain binds an event channel that peer has allocated.
func (s *stake) interdomain(port xen.Port) (evtchn.Channel, error) {
	c, err := s.dom.Events.Interdomain(s.peer, port)
	if err != nil {
		return nil, fmt.Errorf("bind event channel %d: %w", port, forbidden(err))
	}
	s.channels = append(s.channels, c)
	return c, nil
}

// claim asks for the events of the domain; nil: they cannot be had.
func (s *stake) claim() evtchn.Claim {
	if s.dom == nil {
		return nil // a loop
	}
	if c, ok := s.dom.Events.(evtchn.Claimer); ok {
		return c.Claim()
	}
	return nil
}

// count is the number of pages granted.
func (s *stake) count() (n int) {
	for _, p := range s.pages {
		n += len(p.Refs())
	}
	return n
}

// release gives everything back, and counts the pages against peer, which may
// have mapped them. After a resume it counts nothing: the mappings went when the
// domain left its host.
func (s *stake) release() error {
	resumed, err := s.giveBack(true)
	if n := s.count(); n > 0 && !resumed {
		s.ledger.Charge(s.peer, n)
	}
	return err
}

// undo gives everything back of which peer was never told.
func (s *stake) undo() error {
	_, err := s.giveBack(false)
	return err
}

// giveBack unmaps what is peer's, revokes the pages and then unbinds the channels, in
// this order. Peer's pages come first: once it sees ours end it revokes them, and they
// would stay pinned in its kernel until this side gets there. The channels come last,
// since a grant whose end sends an event holds on to the port. Before them it tells the
// other side, where the kernel does not. Channels of before a resume are left as they
// are, which is no error; resumed says that there were some. A mapping of before a resume
// is unmapped like any other: the hypervisor has forgotten it, this kernel has not.
func (s *stake) giveBack(tell bool) (resumed bool, err error) {
	tell = tell && s.dom != nil && s.dom.Suspends // a loop has no domain
	var errs []error
	for _, m := range s.mappings {
		errs = append(errs, m.Unmap())
	}
	for _, p := range s.pages {
		errs = append(errs, p.Revoke())
	}
	for _, c := range s.channels {
		if tell {
			_ = c.Notify() // or its probe tells it
		}
		err := c.Close()
		if errors.Is(err, evtchn.ErrAbandoned) {
			resumed = true
			continue
		}
		errs = append(errs, err)
	}
	return resumed, errors.Join(errs...)
}
