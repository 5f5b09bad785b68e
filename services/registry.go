package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"xvsock/services/journal"
)

// State is the health of a service, with the words of grpc.health.v1.
type State string

const (
	// Serving: it takes requests.
	Serving State = "SERVING"
	// NotServing: it is known, and down.
	NotServing State = "NOT_SERVING"
	// Unknown is the answer for a service that is not there. No service has it.
	Unknown State = "SERVICE_UNKNOWN"
)

// Valid reports whether a service can be in the state.
func (s State) Valid() bool { return s == Serving || s == NotServing }

const (
	// MaxServices is the most services of one domain.
	MaxServices = 256
	// registryHistory is how many changes a watcher may lag behind.
	registryHistory = 1024
)

var (
	// ErrExists says that there is a service of that name.
	ErrExists = errors.New("service exists")
	// ErrNotFound says that there is no service of that name.
	ErrNotFound = errors.New("no such service")
	// ErrFull says that a domain has as many services as it may.
	ErrFull = errors.New("too many services")
	// ErrState says that a service cannot be in that state.
	ErrState = errors.New("bad service state")
)

// Entry is one service of the domain.
type Entry struct {
	Info
	State State
}

// Equal reports whether two entries say the same.
func (e Entry) Equal(o Entry) bool {
	return e.Name == o.Name && e.Port == o.Port && e.State == o.State && maps.Equal(e.Txt, o.Txt)
}

// Change is a step of the registry: the entry as it now is, or as it was when
// it went.
type Change struct {
	Entry
	Gone bool
}

// Registry holds the domain's own services. All methods may be called by any
// goroutine and none waits for a watcher.
type Registry struct {
	mu      sync.Mutex
	entries map[string]Entry
	log     *journal.Log[Change] // appended to with mu held
}

// NewRegistry returns an empty registry.
func NewRegistry() *Registry {
	return &Registry{
		entries: make(map[string]Entry),
		log:     journal.New[Change](registryHistory, journal.RandomStart()),
	}
}

// Add enters a service that is not serving yet. The error wraps what Info.Check
// says, ErrExists or ErrFull.
func (r *Registry) Add(i Info) error {
	if err := i.Check(); err != nil {
		return err
	}
	i.Txt = maps.Clone(i.Txt)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.entries[i.Name]; there {
		return fmt.Errorf("%w: %s", ErrExists, i.Name)
	}
	if len(r.entries) >= MaxServices {
		return fmt.Errorf("%w: %d", ErrFull, MaxServices)
	}
	r.put(Entry{Info: i, State: NotServing})
	return nil
}

// SetState says how a service is. The error wraps ErrState or ErrNotFound.
func (r *Registry) SetState(name string, s State) error {
	if !s.Valid() {
		return fmt.Errorf("%w: %.32q", ErrState, s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, there := r.entries[name]
	if !there {
		return fmt.Errorf("%w: %.32q", ErrNotFound, name)
	}
	if e.State != s {
		e.State = s
		r.put(e)
	}
	return nil
}

// Remove takes a service out. The error wraps ErrNotFound.
func (r *Registry) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, there := r.entries[name]
	if !there {
		return fmt.Errorf("%w: %.32q", ErrNotFound, name)
	}
	delete(r.entries, name)
	r.log.Append(Change{Entry: e, Gone: true})
	return nil
}

func (r *Registry) put(e Entry) {
	r.entries[e.Name] = e
	r.log.Append(Change{Entry: e})
}

// State returns how a service is, Unknown if it is not there.
func (r *Registry) State(name string) State {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, there := r.entries[name]; there {
		return e.State
	}
	return Unknown
}

// List returns all services by name, and the revision that they make up. The
// entries' Txt is shared and not to be changed.
func (r *Registry) List() ([]Entry, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Entry, 0, len(r.entries))
	for _, name := range slices.Sorted(maps.Keys(r.entries)) {
		list = append(list, r.entries[name])
	}
	return list, r.log.Revision()
}

// Next returns changes made after a revision that List or Next gave, oldest
// first and at most limit, with the revision of the last of them. It waits
// until there is one, or ctx is done. The error is journal.ErrCompacted if the
// watcher has fallen behind and has to List again.
func (r *Registry) Next(ctx context.Context, after uint64, limit int) ([]Change, uint64, error) {
	return r.log.Next(ctx, after, limit)
}
