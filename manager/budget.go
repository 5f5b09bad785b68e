package manager

import (
	"cmp"
	"errors"
	"fmt"

	"golang.org/x/time/rate"

	"xvsock/manager/port1"
)

// ErrBudget says that a budget is a number that cannot be one.
var ErrBudget = errors.New("bad budget")

// Budgets are what one frontend may use (design, section 6; rule R7).
type Budgets struct {
	// Requests is how many CONNECT_req a second a frontend may send, and Burst how
	// many at once. A HELLO after the first counts as one. Whoever sends more is
	// read more slowly.
	Requests, Burst int
	// HalfOpen is how many requests may wait for an answer of their responders.
	HalfOpen int
	// Links is how many links to peers a frontend may have when it asks for one
	// more. A responder's are bounded by what a HELLO can list.
	Links int
	// Connections is how many connections there may be over its front link. The
	// Manager carries this one for whoever makes the Stack.
	Connections int
	// Registrations is how many a second it may change in the directory. The
	// Manager carries this one for whoever makes the directory.
	Registrations int
}

// DefaultBudgets are what holds where nothing else is said.
func DefaultBudgets() Budgets {
	return Budgets{Requests: 50, Burst: 100, HalfOpen: 16, Links: 64, Connections: 1024, Registrations: 8}
}

// withDefaults fills in what was left out.
func (b Budgets) withDefaults() Budgets {
	d := DefaultBudgets()
	return Budgets{
		Requests:      cmp.Or(b.Requests, d.Requests),
		Burst:         cmp.Or(b.Burst, d.Burst),
		HalfOpen:      cmp.Or(b.HalfOpen, d.HalfOpen),
		Links:         cmp.Or(b.Links, d.Links),
		Connections:   cmp.Or(b.Connections, d.Connections),
		Registrations: cmp.Or(b.Registrations, d.Registrations),
	}
}

// Check returns an error that wraps ErrBudget if a budget is out of its bounds. 0
// is as usual.
func (b Budgets) Check() error {
	b = b.withDefaults()
	for _, n := range []struct {
		name    string
		n, most int
	}{
		{"requests", b.Requests, 10_000},
		{"burst", b.Burst, 100_000},
		{"half-open", b.HalfOpen, 1024},
		{"links", b.Links, port1.MaxLinks},
		{"connections", b.Connections, 1 << 16},
		{"registrations", b.Registrations, 10_000},
	} {
		if n.n < 1 || n.n > n.most {
			return fmt.Errorf("%w: %s=%d is not from 1 to %d", ErrBudget, n.name, n.n, n.most)
		}
	}
	return nil
}

// bucket returns a frontend's bucket of requests.
func (b Budgets) bucket() *rate.Limiter { return rate.NewLimiter(rate.Limit(b.Requests), b.Burst) }

// Budgets are what each frontend may use, with what is as usual filled in.
func (m *Manager) Budgets() Budgets { return m.cfg.Budgets }
