package policy

import (
	"iter"
	mathbits "math/bits"
)

// Decision is the answer to whether one domain may connect to a port of another.
type Decision struct {
	Allow bool
	Rule  *Rule // the first that matches; nil: none does
	// Reachable says that some port there is allowed. If it is not, the caller is
	// not told that the domain exists.
	Reachable bool
	// Cut says that Rule allows the port and it is denied all the same: the pair
	// has more ranges of ports than a Table takes.
	Cut bool
}

// Facts are which rules have a domain as their source, and as their destination. A
// caller that keeps them matches a domain once, not once for each pair. They are
// good for the Set that they are from; to any other they are about no rule at all.
type Facts struct {
	set                 *Set
	source, destination bits
}

// Match returns the facts about a domain.
func (s *Set) Match(d Domain) Facts {
	f := Facts{set: s, source: newBits(len(s.rules)), destination: newBits(len(s.rules))}
	f.fill(&d)
	return f
}

// fill sets the bits, which are clear.
func (f *Facts) fill(d *Domain) {
	for i := range f.set.patterns {
		o := &f.set.patterns[i]
		if !o.pattern.matches(d) {
			continue
		}
		for _, rule := range o.source {
			f.source.set(int(rule))
		}
		for _, rule := range o.destination {
			f.destination.set(int(rule))
		}
	}
}

// Decide says whether src may connect to the port of dst by these rules. What is
// allowed without any (Builtin) it leaves out. It allocates nothing, but for the
// first question about a pair.
func (s *Set) Decide(src, dst Domain, port uint32) Decision {
	var room [4][words]uint64
	n := (len(s.rules) + 63) / 64
	from := Facts{set: s, source: room[0][:n], destination: room[1][:n]}
	to := Facts{set: s, source: room[2][:n], destination: room[3][:n]}
	from.fill(&src)
	to.fill(&dst)
	return s.Judge(from, to, port)
}

// Judge is Decide for domains whose facts are known. It allocates nothing if
// Between does not.
func (s *Set) Judge(src, dst Facts, port uint32) Decision {
	t := s.Between(src, dst)
	d := Decision{Reachable: len(t.Ranges) > 0, Rule: t.Find(port)}
	if d.Rule != nil {
		d.Allow = true
		return d
	}
	for r := range s.matching(src, dst) {
		if contains(r.ports, port) {
			d.Rule, d.Cut = r, r.Allow
			break
		}
	}
	return d
}

// matching are the rules that are about the pair, in order.
func (s *Set) matching(src, dst Facts) iter.Seq[*Rule] {
	return func(yield func(*Rule) bool) {
		if src.set != s || dst.set != s {
			return
		}
		for i, word := range src.source {
			for word &= dst.destination[i]; word != 0; word &= word - 1 {
				if !yield(s.rules[i*64+mathbits.TrailingZeros64(word)]) {
					return
				}
			}
		}
	}
}
