package door

import (
	"fmt"
	"syscall"

	"xvsock/vsock"
	"xvsock/vsock/hybrid"
)

// places bounds the open connections of one direction: those that programs made to the
// door, or those that came in for them. They are apart so that no peer can use up what
// programs need for their own. Server.mu guards it.
type places struct {
	total, perUser, perDomain int // bounds
	taken                     int
	users                     map[uint32]int
	dealings                  map[dealing]int
}

// dealing is a user's with a domain, or that of all users.
type dealing struct {
	cid uint32
	all bool
	uid uint32 // 0 for all
}

func newPlaces(c Config) places {
	return places{
		total: c.Total, perUser: c.PerUser, perDomain: c.PerDomain,
		users: make(map[uint32]int), dealings: make(map[dealing]int),
	}
}

// take takes a place for a user, or returns why there is none.
func (p *places) take(uid uint32) *hybrid.Error {
	switch {
	case p.taken >= p.total:
		return crowded("too many connections of programs are open, %d", p.total)
	case p.users[uid] >= p.perUser:
		return crowded("too many connections of user %d are open, %d", uid, p.perUser)
	}
	p.taken++
	p.users[uid]++
	return nil
}

// deal books a place with a domain, of which what is the name, or returns why there is
// none.
func (p *places) deal(d dealing, what string) *hybrid.Error {
	switch {
	case p.dealings[d] < p.perDomain:
		p.dealings[d]++
		return nil
	case d.all:
		return crowded("too many connections from %.64q are open, %d", what, p.perDomain)
	}
	return crowded("too many connections of user %d with %.64q are open, %d", d.uid, what, p.perDomain)
}

// give gives back what a client has taken.
func (p *places) give(c *client) {
	p.taken--
	release(p.users, c.UID)
	if c.deals {
		release(p.dealings, c.dealing)
	}
}

func release[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] == 0 {
		delete(counts, k)
	}
}

func crowded(format string, args ...any) *hybrid.Error {
	return &hybrid.Error{Errno: syscall.ENOBUFS, Text: fmt.Sprintf(format, args...)}
}

// dealingWith is what counts for a connection that a user's program makes. A domain has
// two CIDs, and is one.
func dealingWith(uid, cid uint32) dealing {
	if id, ok := vsock.DomainOf(cid); ok {
		cid = vsock.CIDOf(id)
	}
	return dealing{cid: cid, uid: uid}
}

// dealingFrom is what counts for a connection that came in for a user's program: all
// users are one, so that a domain has no more for reaching many of them. Of this domain
// itself, whose users are not each other's, each is one.
func dealingFrom(conn *vsock.Conn, uid uint32) dealing {
	cid := cidOf(conn)
	if cid == vsock.CIDSelf {
		return dealing{cid: cid, uid: uid}
	}
	return dealing{cid: cid, all: true}
}

// cidOf is the CID of a connection's other end as AF_VSOCK shows it: this domain's own is
// CIDSelf there.
func cidOf(conn *vsock.Conn) uint32 {
	from := conn.RemoteAddr().(vsock.Addr)
	if from.CID == conn.LocalAddr().(vsock.Addr).CID {
		return vsock.CIDSelf
	}
	return vsock.CIDOf(conn.Peer())
}
