package policy

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// MaxRanges is how many ranges a Table has at most: as many as the record of a peer
// takes (port 1, PEER).
const MaxRanges = 64

// Range is ports that one rule allows.
type Range struct {
	First, Last uint32
	Rule        *Rule
}

// Table is all that one domain may connect to at another. It does not change.
type Table struct {
	Ranges []Range // allowed ports, in order, disjoint; empty: none
	// Cut says that more would have been allowed than MaxRanges ranges. The ports
	// above the last one are denied then.
	Cut    bool
	Access Access // map if the rule of some range says so
	Ring   int    // bytes, the largest that the rule of a range says; 0: none says
}

// Find returns the rule that allows the port, nil if it is denied.
func (t *Table) Find(port uint32) *Rule {
	i, _ := slices.BinarySearchFunc(t.Ranges, port, func(r Range, port uint32) int { return cmp.Compare(r.Last, port) })
	if i < len(t.Ranges) && t.Ranges[i].First <= port {
		return t.Ranges[i].Rule
	}
	return nil
}

// Equal reports whether both tables say the same, which they may be from different
// Sets: the same ranges by rules with the same ids, cut or not, access and ring.
func (t *Table) Equal(u *Table) bool {
	return t == u || t.Cut == u.Cut && t.Access == u.Access && t.Ring == u.Ring &&
		slices.EqualFunc(t.Ranges, u.Ranges, func(a, b Range) bool {
			return a.First == b.First && a.Last == b.Last && a.Rule.ID == b.Rule.ID
		})
}

// outcome is the same for tables that say the same, within a Set.
func (t *Table) outcome() string {
	var b []byte
	for _, r := range t.Ranges {
		b = binary.LittleEndian.AppendUint32(b, r.First)
		b = binary.LittleEndian.AppendUint32(b, r.Last)
		b = binary.LittleEndian.AppendUint64(b, r.Rule.ID)
	}
	if t.Cut {
		b = append(b, 1)
	}
	return string(b) // access and ring follow from the rules
}

// grant appends ports that r allows, and reports whether there was room. They begin
// above all that t has.
func (t *Table) grant(first, last uint32, r *Rule) bool {
	if n := len(t.Ranges); n > 0 && t.Ranges[n-1].Rule == r && t.Ranges[n-1].Last+1 == first {
		t.Ranges[n-1].Last = last
		return true
	}
	if len(t.Ranges) == MaxRanges {
		t.Cut = true
		return false
	}
	t.Ranges = append(t.Ranges, Range{First: first, Last: last, Rule: r})
	t.Access = max(t.Access, r.Access)
	t.Ring = max(t.Ring, r.Ring)
	return true
}

// opening is a span of ports that the rule at place rule decides, unless an earlier
// one does.
type opening struct {
	span
	rule int
}

// tabulate works out the table of a pair that exactly these rules match.
//
// It goes over the ports from the lowest. The rules that have the current port are
// kept in a set, of which the first decides: until its span ends, or the span of
// another rule begins. A rule's own spans do not overlap, so of each rule the end of
// one span is all that there is to know.
func (s *Set) tabulate(matching bits) *Table {
	t := &Table{}
	var pending []opening
	for r := range matching.all() {
		for _, p := range s.rules[r].ports {
			pending = append(pending, opening{p, r})
		}
	}
	slices.SortFunc(pending, func(a, b opening) int { return cmp.Compare(a.first, b.first) })

	open, last := newBits(len(s.rules)), make([]uint32, len(s.rules))
	for port := uint32(0); ; {
		for len(pending) > 0 && pending[0].first <= port {
			open.set(pending[0].rule)
			last[pending[0].rule] = pending[0].last
			pending = pending[1:]
		}
		first := open.first()
		switch {
		case first >= 0 && last[first] < port:
			open.clear(first)
			continue
		case first < 0 && len(pending) == 0:
			return t
		case first < 0:
			port = pending[0].first
			continue
		}
		end := last[first]
		if len(pending) > 0 {
			end = min(end, pending[0].first-1)
		}
		if r := s.rules[first]; r.Allow && !t.grant(port, end, r) {
			return t
		}
		port = end + 1 // end is at most lastPort
	}
}
