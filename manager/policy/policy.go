// Package policy is the rule language by which the toolstack says which domain may
// connect to which ports of which other (design, section 6, "Rules"). It decides;
// who asks, and what happens to a connection that is not allowed, is elsewhere.
//
// A rule is a line of fields separated by blanks; # starts a comment:
//
//	# service|port  source        destination   action  parameters
//	discovery       *             @backend      allow
//	echo,7000-7010  web-*         db1           allow   conns=64
//	*               @tag:admin    *             allow
//
// The first rule that matches decides. What no rule matches is denied.
//
//	ports        a comma-separated list of names of well-known ports, numbers, and
//	             ranges of two numbers; or *: 2 to 0xFFFFFFFE. Port 1, the manager's,
//	             is not for rules
//	source,      one pattern: a name, in which * is any text and ? any character;
//	destination  uuid:UUID; @tag:TAG; @backend; @dom0; or *, every domain. It is not
//	             a list: two names are two rules, or a tag
//	action       allow or deny
//	parameters   conns=N, rate=N (1 to 2^20), access=copy|map, ring=BYTES (a power of
//	             two from 4K to 1M), log. A deny takes log alone
//
// All that a rule is matched against comes from the toolstack (type Domain). Nothing
// that a guest can write is looked at.
package policy

import (
	"slices"
	"sync"

	"xvsock/xen"
)

// Domain is what rules are matched against. All of it is the toolstack's word.
type Domain struct {
	ID      xen.DomID
	Name    string // not unique
	UUID    string // 8-4-4-4-12 hexadecimal digits, in either case
	Tags    []string
	Backend bool // it is the backend's domain
	// Twin says that another attached domain has this name. Then, as without a
	// name, no name pattern matches it: the name does not tell who it is.
	Twin bool
	// TwinUUID says the same of its uuid: no uuid pattern matches it.
	TwinUUID bool
}

// Set is a whole policy, which does not change. Any number of goroutines may use
// it at once.
type Set struct {
	rules    []*Rule
	patterns []occurrence
	whole    bits // of rules for every port
	nothing  *Table

	mu       sync.Mutex
	tables   map[string]*Table // by the rules that match a pair
	outcomes map[string]*Table // by what comes out of them
}

// occurrence is a pattern and the rules that have it, by their place in the set:
// a pattern that many rules share is matched once.
type occurrence struct {
	pattern             pattern
	source, destination []uint16
}

// newSet makes a set of rules, in this order.
func newSet(rules []*Rule) *Set {
	s := &Set{
		rules:    rules,
		whole:    newBits(len(rules)),
		nothing:  &Table{},
		tables:   make(map[string]*Table),
		outcomes: make(map[string]*Table),
	}
	s.outcomes[s.nothing.outcome()] = s.nothing
	at := make(map[pattern]int)
	place := func(p pattern) *occurrence {
		i, known := at[p]
		if !known {
			i = len(s.patterns)
			at[p] = i
			s.patterns = append(s.patterns, occurrence{pattern: p})
		}
		return &s.patterns[i]
	}
	for i, r := range rules {
		o := place(r.source)
		o.source = append(o.source, uint16(i))
		o = place(r.destination)
		o.destination = append(o.destination, uint16(i))
		if covers(r.ports, everyPort) {
			s.whole.set(i)
		}
	}
	return s
}

// Rules lists the rules in their order.
func (s *Set) Rules() []*Rule { return slices.Clone(s.rules) }
