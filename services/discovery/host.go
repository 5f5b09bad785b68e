package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"xvsock/services"
	"xvsock/services/journal"
)

const (
	maxDomains  = 1024 // joined at once; a host has fewer links
	hostHistory = 4096 // changes that a watcher may lag behind
	// A domain enters all its services at once, twice over, and then may
	// change a few a second: so it can push only its share of the changes out
	// of the history that all watchers read.
	registerBurst = 2 * services.MaxServices
)

// ErrNotJoined says that a domain's link is not, or no longer, known to the
// directory.
var ErrNotJoined = errors.New("domain has not joined")

// HostDirectory is what the backend knows of the whole host. A domain is
//
//	absent --Join--> joined --Register, Unregister--> joined --Drop--> absent
//
// Join and Drop are the backend's, with the link's beginning and end; Register
// and Unregister come from the domain itself and count only for the link that
// joined, so that nothing late brings back what a Drop has taken out.
type HostDirectory struct {
	cfg HostConfig

	mu      sync.Mutex
	members map[uint16]*member
	spent   map[uint16]*rate.Limiter // of domains that have dropped, while not full again
	log     *journal.Log[Change]     // appended to with mu held
}

// member is a domain with its link up.
type member struct {
	identity Caller
	records  map[string]Record // at most services.MaxServices
	bucket   *rate.Limiter
}

// DefaultRegistrations is how many registrations a second may change something for
// one domain.
const DefaultRegistrations = 8

// HostConfig describes a HostDirectory.
type HostConfig struct {
	Visible Visible // nil: a domain sees its own services only
	// Registrations is how many registrations of one domain may change something
	// a second; 0: DefaultRegistrations.
	Registrations int
}

// NewHostDirectory returns an empty directory.
func NewHostDirectory(cfg HostConfig) *HostDirectory {
	cfg.Registrations = cmp.Or(cfg.Registrations, DefaultRegistrations)
	return &HostDirectory{
		cfg:     cfg,
		members: make(map[uint16]*member),
		spent:   make(map[uint16]*rate.Limiter),
		log:     journal.New[Change](hostHistory, journal.RandomStart()),
	}
}

// Join says that a domain's link is up: its identity as the toolstack wrote
// it, and the link's generation. A link of the domain that was there before is
// dropped. The error wraps services.ErrFull, or services.ErrName for a name or
// UUID that is not fit to be shown.
func (h *HostDirectory) Join(identity Caller) error {
	if !showable(identity.Name) || !showable(identity.UUID) {
		return fmt.Errorf("domain %d: %w: not fit to be shown", identity.Domain, services.ErrName)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, there := h.members[identity.Domain]; there {
		h.drop(old)
	}
	if len(h.members) >= maxDomains {
		return fmt.Errorf("domain %d: %w", identity.Domain, services.ErrFull)
	}
	h.members[identity.Domain] = &member{
		identity: identity,
		records:  make(map[string]Record),
		bucket:   h.takeBucket(identity.Domain),
	}
	return nil
}

// takeBucket returns the bucket for a domain that joins. That it has made its link
// again gives it no new budget. It is called with mu held.
func (h *HostDirectory) takeBucket(domain uint16) *rate.Limiter {
	if b, there := h.spent[domain]; there {
		delete(h.spent, domain)
		return b
	}
	return rate.NewLimiter(rate.Limit(h.cfg.Registrations), registerBurst)
}

// keepBucket keeps the bucket of a domain that has dropped for as long as a new one
// would hold more. So there are no more of them than domains drop in the time in
// which a bucket fills. It is called with mu held.
func (h *HostDirectory) keepBucket(domain uint16, b *rate.Limiter) {
	h.spent[domain] = b
	now := time.Now()
	maps.DeleteFunc(h.spent, func(_ uint16, b *rate.Limiter) bool { return b.TokensAt(now) >= registerBurst })
}

// Drop says that a domain's link of that generation has ended: its services
// are gone. It does nothing if the domain has joined by another link since.
func (h *HostDirectory) Drop(domain uint16, generation uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m, there := h.members[domain]; there && m.identity.Generation == generation {
		h.drop(m)
	}
}

// drop is called with mu held.
func (h *HostDirectory) drop(m *member) {
	delete(h.members, m.identity.Domain)
	h.keepBucket(m.identity.Domain, m.bucket)
	for _, name := range slices.Sorted(maps.Keys(m.records)) {
		h.log.Append(Change{Kind: Delete, Service: m.records[name]})
	}
}

// PolicyChanged says that visible may answer otherwise from now on: every
// watcher is told to read the whole directory again.
func (h *HostDirectory) PolicyChanged() { h.log.Reset() }

// Register implements Directory. The error wraps ErrNotJoined, ErrLimitReached
// for a domain that changes its services too often, services.ErrFull, or what
// a check of the entry says.
func (h *HostDirectory) Register(c Caller, e services.Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	if !e.State.Valid() {
		return fmt.Errorf("%w: %.32q", services.ErrState, e.State)
	}
	e.Txt = maps.Clone(e.Txt)
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := h.member(c)
	if err != nil {
		return err
	}
	r := record(m.identity, e)
	old, there := m.records[e.Name]
	if there && old.Equal(r) {
		return nil
	}
	if !there && len(m.records) >= services.MaxServices {
		return fmt.Errorf("%w: %d", services.ErrFull, services.MaxServices)
	}
	if !m.bucket.Allow() {
		return ErrLimitReached
	}
	m.records[e.Name] = r
	h.log.Append(Change{Kind: Put, Service: r})
	return nil
}

// Unregister implements Directory. The error wraps ErrNotJoined or
// services.ErrNotFound.
func (h *HostDirectory) Unregister(c Caller, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, err := h.member(c)
	if err != nil {
		return err
	}
	r, there := m.records[name]
	if !there {
		return fmt.Errorf("%w: %.32q", services.ErrNotFound, name)
	}
	delete(m.records, name)
	h.log.Append(Change{Kind: Delete, Service: r})
	return nil
}

// member is called with mu held.
func (h *HostDirectory) member(c Caller) (*member, error) {
	m, there := h.members[c.Domain]
	if !there || m.identity.Generation != c.Generation {
		return nil, fmt.Errorf("domain %d: %w", c.Domain, ErrNotJoined)
	}
	return m, nil
}

// List implements Directory: by name of the domain, then of the service.
func (h *HostDirectory) List(c Caller, f Filter) ([]Record, uint64) {
	records, revision := h.matching(f)
	records = slices.DeleteFunc(records, func(r Record) bool { return !h.sees(c, r) })
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.Name, b.Name))
	})
	return records, revision
}

func (h *HostDirectory) matching(f Filter) (records []Record, revision uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.members {
		if !f.matchDomain(m.identity.Name, m.identity.UUID) {
			continue
		}
		if f.Name == "" {
			records = slices.AppendSeq(records, maps.Values(m.records))
		} else if r, there := m.records[f.Name]; there {
			records = append(records, r)
		}
	}
	return records, h.log.Revision()
}

// Next implements Directory.
func (h *HostDirectory) Next(ctx context.Context, c Caller, after uint64) ([]Change, uint64, error) {
	for {
		changes, revision, err := h.log.Next(ctx, after, changesAtOnce)
		if err != nil {
			return nil, after, err
		}
		changes = slices.DeleteFunc(changes, func(ch Change) bool { return !h.sees(c, ch.Service) })
		if len(changes) > 0 {
			return changes, revision, nil
		}
		after = revision
	}
}

// sees reports whether a caller may know of a record. A domain knows its own.
func (h *HostDirectory) sees(c Caller, r Record) bool {
	own := c.Domain == r.DomainID && c.UUID == r.UUID
	return own || h.cfg.Visible != nil && h.cfg.Visible(c, r)
}
