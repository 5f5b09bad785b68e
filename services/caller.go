package services

import (
	"net"
	"sync"
)

// Caller is the other end of a connection, as told by the link it came in on
// and by what the toolstack wrote about that domain. No word of it comes from
// the caller's own messages.
type Caller struct {
	Domain     uint16 // domain id, an address for as long as the link stands
	CID        uint32 // the address by which programs of other domains reach it; 0 if it is not told
	Generation uint64 // of the link
	Name       string // the toolstack's name
	UUID       string
	Port       uint32 // source port of the connection
}

// Privileged reports whether the source port is one that only the domain's
// root may use.
func (c Caller) Privileged() bool { return c.Port != 0 && c.Port < PortPrivileged }

// Identify tells who is at the other end of a connection; false if nobody
// knows, and then the connection is not served.
type Identify func(net.Conn) (Caller, bool)

// Quota bounds how many of something there are, for one domain and in all.
type Quota struct {
	perDomain, total int

	mu   sync.Mutex
	held map[uint16]int
	sum  int
}

// NewQuota returns a quota of perDomain for each domain and total in all.
func NewQuota(perDomain, total int) *Quota {
	return &Quota{perDomain: perDomain, total: total, held: make(map[uint16]int)}
}

// Acquire takes one for the domain, and reports whether there was one left.
func (q *Quota) Acquire(domain uint16) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sum >= q.total || q.held[domain] >= q.perDomain {
		return false
	}
	q.held[domain]++
	q.sum++
	return true
}

// Release gives back one that Acquire gave.
func (q *Quota) Release(domain uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sum--
	if q.held[domain]--; q.held[domain] == 0 {
		delete(q.held, domain)
	}
}

// Held returns how many are taken in all.
func (q *Quota) Held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.sum
}
