package policy

import (
	"fmt"
	"strings"

	"xvsock/services"
	"xvsock/xen/naming"
)

// Warning is something in a policy that is most likely not what its author meant.
type Warning struct {
	Rule   *Rule // nil if it is about a pair of domains
	Reason string
}

// String returns place and reason.
func (w Warning) String() string {
	if w.Rule == nil {
		return w.Reason
	}
	return fmt.Sprintf("%s:%d: %s", w.Rule.File, w.Rule.Line, w.Reason)
}

// Lint looks over a policy that parses. With domains, all that there are, it looks
// at what the rules come to for them too. It finds no mistake that is none, but not
// every one.
func Lint(s *Set, domains []Domain) []Warning {
	var all []Warning
	lastAllow := -1
	for i, r := range s.rules {
		if r.Allow {
			lastAllow = i
		}
	}
	for i, r := range s.rules {
		reasons := []string{s.neverMatches(i), opensAll(r), withoutEffect(r), r.unused()}
		if i > lastAllow && !r.Log {
			reasons = append(reasons, "has no effect: no allow comes after it, and what no rule matches is denied anyway")
		}
		if len(domains) > 0 {
			reasons = append(reasons, strange("source", r.source, domains), strange("destination", r.destination, domains))
		}
		for _, reason := range reasons {
			if reason != "" {
				all = append(all, Warning{Rule: r, Reason: reason})
			}
		}
	}
	return append(all, s.lintPairs(domains)...)
}

// neverMatches says which earlier rules have decided all that the rule at place i
// is about.
func (s *Set) neverMatches(i int) string {
	const most = 4
	by := s.shadow(i)
	if len(by) == 0 {
		return ""
	}
	var names []string
	for _, r := range by[:min(len(by), most)] {
		action := "deny"
		if r.Allow {
			action = "allow"
		}
		names = append(names, fmt.Sprintf("%s:%d (%s)", r.File, r.Line, action))
	}
	if more := len(by) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "never matches: decided before by " + strings.Join(names, ", ")
}

// opensAll says that the rule lets everybody reach everybody.
func opensAll(r *Rule) string {
	if !r.Allow || r.source.kind != everyDomain || r.destination.kind != everyDomain {
		return ""
	}
	return "allows this between any two domains, also those that are attached later"
}

// withoutEffect says that the rule is about what no rule decides.
func withoutEffect(r *Rule) string {
	single := r.source.kind != everyDomain && r.source.kind != byTag &&
		(r.source.kind != byName || !strings.ContainsAny(r.source.text, "*?"))
	if single && r.source == r.destination {
		return "has no effect: a domain may always connect to itself"
	}
	discovery := len(without(r.ports, []span{{services.PortDiscovery, services.PortDiscovery}})) == 0
	if r.destination.kind == theBackend && discovery && (!r.Allow || r.Params != Params{}) {
		return "has no effect: attaching allows port 2 of @backend, without limits"
	}
	return ""
}

// unused says that the rule has parameters for peer links and is about front links.
func (r *Rule) unused() string {
	if r.source.kind != theBackend && r.destination.kind != theBackend || r.Access == AccessCopy && r.Ring == 0 {
		return ""
	}
	return "access= and ring= have no effect between a frontend and @backend: they are for links between frontends"
}

// strange says that a pattern matches none of the domains.
func strange(what string, p pattern, domains []Domain) string {
	if p.kind == everyDomain || p.kind == theBackend || p.kind == domainZero {
		return ""
	}
	twin, twinUUID := false, false
	for _, d := range domains {
		if p.matches(&d) {
			return ""
		}
		twin = twin || d.Twin && p.kind == byName && naming.Match(p.text, d.Name)
		twinUUID = twinUUID || d.TwinUUID && p.kind == byUUID && strings.EqualFold(p.text, d.UUID)
	}
	switch {
	case twinUUID:
		return fmt.Sprintf("%s %.60q is the uuid of more than one domain, and so matches none", what, p)
	case twin:
		return fmt.Sprintf("%s %.60q matches only names that more than one domain has, which match nothing: use uuid:", what, p)
	}
	return fmt.Sprintf("%s %.60q matches none of the known domains", what, p)
}

// lintPairs finds pairs whose Table is cut: one for each Table, as many pairs may
// have the same.
func (s *Set) lintPairs(domains []Domain) []Warning {
	var all []Warning
	facts := make([]Facts, len(domains))
	for i, d := range domains {
		facts[i] = s.Match(d)
	}
	seen := make(map[*Table]bool)
	for i, src := range domains {
		for j, dst := range domains {
			t := s.Between(facts[i], facts[j])
			if i == j || !t.Cut || seen[t] {
				continue
			}
			seen[t] = true
			all = append(all, Warning{Reason: fmt.Sprintf(
				"from %.60q (%v) to %.60q (%v) rules allow more than %d ranges of ports: those above %d are denied, so join ranges",
				src.Name, src.ID, dst.Name, dst.ID, MaxRanges, t.Ranges[MaxRanges-1].Last)})
		}
	}
	return all
}
