package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"xvsock/link"
	"xvsock/manager/port1"
	"xvsock/xen"
)

// state is how far the link to a peer is. The model of the handshake (manager/model)
// has the same names.
//
//	idle --Dial: CONNECT_req--------------------> offering
//	idle --CONNECT_ind--------------------------> accepting
//	offering --CONNECT_rsp OK: bind-------------> accepting
//	offering --CONNECT_ind crosses CONNECT_req--> accepting
//	accepting --both have bound-----------------> up
//	accepting --CONNECT_ind---------------------> accepting, anew
//	up --CONNECT_ind----------------------------> accepting, once the old link is down
//	offering --CONNECT_rsp not OK, front link down----> idle
//	offering, accepting --no time left, record gone---> idle
//	up --link ended, idle for long, record gone-------> idle
//
// What an arrow leaves behind is given back before the next state is entered. A
// CONNECT_req that was crossed stays unanswered beside the other states until its
// CONNECT_rsp comes, and none is sent before. The end of the front link means nothing
// to accepting and up: all that they wait for comes from the other side.
type state uint8

const (
	idle state = iota
	offering
	accepting
	up
)

// String returns the state as it stands in status.
func (s state) String() string {
	return [...]string{idle: "idle", offering: "offering", accepting: "accepting", up: "up"}[s]
}

// Reasons why link work is given up.
var (
	errRevoked    = errors.New("nothing is allowed with this domain any more")
	errReplaced   = errors.New("another domain has this id now")
	errNewer      = errors.New("the other side asks for a new link")
	errNobodyAsks = errors.New("nobody waits for the link any more")
	errTalkEnded  = errors.New("the front link went down meanwhile")
	errDetached   = fmt.Errorf("this domain was detached: %w", errRevoked)
)

// peer is another domain, under its id. Client.mu guards it; the job under way
// belongs to the one goroutine that does the link work for this peer, as long as
// there is any.
type peer struct {
	id    xen.DomID
	rec   *record // nil: nothing is known of it, and nothing allowed
	was   *record // the one before
	state state
	job   *job          // the link work under way; nil: none
	wake  chan struct{} // capacity 1: what the job waits for may have come

	attempt *attempt    // what Dials wait for; nil: none does
	ind     *indication // to be answered next
	req     *request    // sent and not answered yet
	owed    []uint64    // ids of PEERs to be confirmed when the job has ended

	link   *link.Link // nil unless up
	served bool       // the Stack runs its connections
	admits uint64     // serial of the link that the record speaks of; 0: none
	live   port1.Live // the link as HELLO tells of it
	claims bool       // and whether it does: from CONNECT_ack or CONNECT_rsp on

	spacing
}

// job is the making and serving of one link. Client.mu guards bound; what stands
// after it belongs to the goroutine that does the job.
type job struct {
	ctx  context.Context
	stop context.CancelCauseFunc
	// bound is set once there is no way back to answer a CONNECT_ind with this
	// job's offer: a new one ends the job.
	bound bool

	ind   *indication // what it answers; nil: nothing
	held  bool        // it counts as a link
	asked bool        // and as one that this side has asked for
	offer *link.Offer // nil: none yet
	link  *link.Link  // what became of the offer; nil: nothing
}

// spacing keeps the attempts to make links to one peer apart.
type spacing struct {
	pace     link.Pace
	earliest time.Time // of the next attempt from here
	admitted bool      // the Ledger has counted the next link already
	admitAt  time.Time // from when on it lets it be made
	broken   error     // why the last link was BROKEN
	until    time.Time // and until when none is made (rule R5)
}

// admit returns how long the Ledger wants the next link to wait. It is asked once a
// link, so that what is refused meanwhile runs up no debt.
func (s *spacing) admit(g *link.Ledger, id xen.DomID) (time.Duration, error) {
	if !s.admitted {
		wait, err := g.Admit(id)
		if err != nil {
			return 0, err
		}
		s.admitted, s.admitAt = true, time.Now().Add(wait)
	}
	return time.Until(s.admitAt), nil
}

// ended notes how the last attempt, or the link that came of it, ended.
func (s *spacing) ended(err error, lived time.Duration) {
	now := time.Now()
	pause := s.pace.Next(err, lived)
	if link.CauseOf(err) == link.Broken {
		s.broken, s.until = err, now.Add(pause)
		return
	}
	s.earliest = now.Add(pause)
}

// poke lets the job look again at what it waits for.
func (p *peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// claim has HELLO tell of the link from now on: the manager believes in it. The caller
// holds mu.
func (c *Client) claim(p *peer, generation uint64) {
	p.claims = true
	p.live = port1.Live{UUID: p.rec.UUID, Attachment: p.rec.Attachment, Generation: generation}
	c.linksChanged()
}

// disclaim is the end of what claim says. The caller holds mu.
func (c *Client) disclaim(p *peer) {
	if p.claims {
		p.claims = false
		c.linksChanged()
	}
}

// forgetIfIdle drops a peer of which there is nothing left to know, also not that it
// lied. The caller holds mu.
func (c *Client) forgetIfIdle(p *peer) {
	if p.rec == nil && p.job == nil && p.req == nil && !time.Now().Before(p.until) {
		delete(c.peers, p.id)
	}
}
