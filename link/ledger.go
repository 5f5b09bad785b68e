package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"xvsock/xen"
)

// What a peer may cost us by taking links down and up again (design, section 4).
// It may have mapped every page of every link and keep the mappings: the kernel
// then cannot free those pages, and does not tell.
const (
	heldFor  = 120 * time.Second // a torn-down link's pages count for so long
	heldCap  = 512               // pages; a peer above it gets no new link
	heldMin  = 4                 // links that it may hold whatever their size
	remakeIn = 5 * time.Second   // a link may be made again once in so long
	remakes  = 5                 // after so many at once
)

// A daemon with many links spends less on each (design, section 4): on every one
// that forms while there are more than manyLinks, a ring of manyRingSize bytes.
const (
	manyLinks    = 32
	manyRingSize = 16 << 10
)

// ErrHeld says that a peer may still hold too many pages of links that were torn
// down, so that no new link to it is made for now.
var ErrHeld = errors.New("too many pages of ended links may still be held by this domain")

// Ledger bounds, for each peer, the pages that it may still hold of links that
// are gone, and how often links to it are made. Its methods may be called by many
// goroutines at once.
type Ledger struct {
	made atomic.Uint64 // links so far, from a random number on
	open atomic.Int64  // links that are not closed

	mu    sync.Mutex
	peers map[xen.DomID]*account
}

// account is one peer's entry. It is dropped once it says nothing any more.
type account struct {
	held   []holding // oldest first
	bucket *rate.Limiter
}

// holding is the pages of one torn-down link.
type holding struct {
	pages int
	until time.Time
}

// NewLedger returns an empty Ledger.
func NewLedger() *Ledger {
	g := &Ledger{peers: make(map[xen.DomID]*account)}
	g.made.Store(rand.Uint64())
	return g
}

// opened counts one more link and returns a number that no other link of this
// process has. Ledgers start far apart.
func (g *Ledger) opened() (serial uint64) {
	g.open.Add(1)
	return g.made.Add(1)
}

// closed counts one link less.
func (g *Ledger) closed() { g.open.Add(-1) }

// ringSize is the size in bytes of a peer link's ring that nobody has asked to be
// of another size.
func (g *Ledger) ringSize() int {
	if g.open.Load() > manyLinks {
		return manyRingSize
	}
	return DefaultRingSize
}

// Admit asks whether a link to peer may be made now. It returns how long to wait
// before making it, having counted the attempt, or an error that wraps ErrHeld.
func (g *Ledger) Admit(peer xen.DomID) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.prune(time.Now())
	a := g.account(peer)
	held := 0
	for _, h := range a.held {
		held += h.pages
	}
	// A few links may have more pages than the cap, and end for an honest reason:
	// with the largest rings two of them do, and an idle one is closed each minute.
	if held > heldCap && len(a.held) >= heldMin {
		return 0, fmt.Errorf("domain %v: %w (%d pages, %v at most)", peer, ErrHeld, held, heldCap)
	}
	return a.bucket.Reserve().Delay(), nil
}

// Charge counts the pages of a link that was torn down against peer.
func (g *Ledger) Charge(peer xen.DomID, pages int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.prune(now)
	a := g.account(peer)
	a.held = append(a.held, holding{pages: pages, until: now.Add(heldFor)})
}

// Forget drops all that is held against anybody, after this domain was resumed:
// nothing of before is mapped any more, and other domains may have the ids now.
func (g *Ledger) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.peers)
}

// account returns peer's account.
func (g *Ledger) account(peer xen.DomID) *account {
	a := g.peers[peer]
	if a == nil {
		a = &account{bucket: rate.NewLimiter(rate.Every(remakeIn), remakes)}
		g.peers[peer] = a
	}
	return a
}

// prune drops what has run out. The bucket bounds how many holdings an account
// can have: a handful of links in heldFor.
func (g *Ledger) prune(now time.Time) {
	for id, a := range g.peers {
		n := 0
		for n < len(a.held) && !now.Before(a.held[n].until) {
			n++
		}
		a.held = a.held[n:]
		if len(a.held) == 0 && a.bucket.TokensAt(now) >= remakes {
			delete(g.peers, id)
		}
	}
}
