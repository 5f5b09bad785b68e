package policy

// Explanation is a Decision with what else there is to know about it.
type Explanation struct {
	Decision
	// Later are the rules behind Rule that match too, in order: the first of them
	// would decide if Rule were not there.
	Later []*Rule
	// Ambiguous are rules that do not match only because the name or the uuid of one
	// of the domains is another attached domain's too (Domain.Twin, TwinUUID).
	Ambiguous []*Rule
}

// Explain is Decide for people.
func (s *Set) Explain(src, dst Domain, port uint32) Explanation {
	from, to := s.Match(src), s.Match(dst)
	e := Explanation{Decision: s.Judge(from, to, port)}
	matched := make(map[*Rule]bool)
	for r := range s.matching(from, to) {
		if !contains(r.ports, port) {
			continue
		}
		matched[r] = true
		if r != e.Rule {
			e.Later = append(e.Later, r)
		}
	}
	src.Twin, dst.Twin, src.TwinUUID, dst.TwinUUID = false, false, false, false
	for r := range s.matching(s.Match(src), s.Match(dst)) {
		if contains(r.ports, port) && !matched[r] {
			e.Ambiguous = append(e.Ambiguous, r)
		}
	}
	return e
}
