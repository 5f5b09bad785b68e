package policy

import (
	"slices"
	"strings"

	"xvsock/xen/naming"
)

// shadow returns the earlier rules that leave the rule at place i nothing to
// decide: one if one is enough, else all that do it together. nil says that there
// are none such, or that it cannot be seen from the patterns alone.
func (s *Set) shadow(i int) []*Rule {
	var wider []*Rule
	r, left := s.rules[i], s.rules[i].ports
	for _, e := range s.rules[:i] {
		if !e.source.includes(r.source) || !e.destination.includes(r.destination) {
			continue
		}
		if len(without(r.ports, e.ports)) == 0 {
			return []*Rule{e}
		}
		if rest := without(left, e.ports); !slices.Equal(rest, left) {
			wider, left = append(wider, e), rest
		}
	}
	if len(left) > 0 {
		return nil
	}
	return wider
}

// includes reports whether p surely matches every domain that q matches.
func (p pattern) includes(q pattern) bool {
	if p.kind == everyDomain || p == q {
		return true
	}
	// A glob that takes the wildcards of another one for plain characters, and
	// matches, matches whatever they stand for: a * by a *, a ? by a * or a ?. Only
	// that a ? takes a * must not be.
	return p.kind == byName && q.kind == byName && naming.Match(p.text, q.text) &&
		!(strings.Contains(p.text, "?") && strings.Contains(q.text, "*"))
}

// without returns the ports of all that are not in gone. Both are in order.
func without(all, gone []span) []span {
	var out []span
	for _, s := range all {
		for len(gone) > 0 && gone[0].last < s.first {
			gone = gone[1:]
		}
		rest, ended := s, false
		for _, g := range gone {
			if g.first > rest.last {
				break
			}
			if g.first > rest.first {
				out = append(out, span{rest.first, g.first - 1})
			}
			if ended = g.last >= rest.last; ended {
				break
			}
			rest.first = g.last + 1
		}
		if !ended {
			out = append(out, rest)
		}
	}
	return out
}
