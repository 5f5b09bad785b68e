package policy_test

import (
	"slices"
	"strconv"
	"strings"

	"xvsock/manager/policy"
)

// The naive evaluator answers straight from the text of the rules and the words of
// the design. It has no code in common with the package.

type naiveRule struct {
	line                       int
	ports, source, destination string
	allow                      bool
	conns, rate, ring          int
	access                     string
	log                        bool
}

func naiveParse(text string) (rules []naiveRule) {
	for i, line := range strings.Split(text, "\n") {
		if at := strings.Index(line, "#"); at >= 0 {
			line = line[:at]
		}
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		r := naiveRule{line: i + 1, ports: f[0], source: f[1], destination: f[2], allow: f[3] == "allow", access: "copy"}
		for _, p := range f[4:] {
			key, value, _ := strings.Cut(p, "=")
			switch key {
			case "conns":
				r.conns, _ = strconv.Atoi(value)
			case "rate":
				r.rate, _ = strconv.Atoi(value)
			case "ring":
				value = strings.Replace(strings.Replace(value, "M", "KK", 1), "K", "*", -1)
				r.ring, _ = strconv.Atoi(strings.TrimRight(value, "*"))
				for range strings.Count(value, "*") {
					r.ring *= 1024
				}
			case "access":
				r.access = value
			case "log":
				r.log = true
			}
		}
		rules = append(rules, r)
	}
	return rules
}

func naiveNumber(s string) uint64 {
	switch s {
	case "discovery":
		return 2
	case "health":
		return 3
	case "control":
		return 4
	case "metrics":
		return 5
	case "log":
		return 6
	case "echo":
		return 7
	case "ssh":
		return 22
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(s)
	}
	return n
}

// naiveSpans are first and last of each item.
func naiveSpans(ports string) (spans [][2]uint64) {
	if ports == "*" {
		return [][2]uint64{{2, 0xFFFFFFFE}}
	}
	for _, item := range strings.Split(ports, ",") {
		ends := strings.Split(item, "-")
		spans = append(spans, [2]uint64{naiveNumber(ends[0]), naiveNumber(ends[len(ends)-1])})
	}
	return spans
}

func naiveGlob(pattern, name []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == '*':
		return naiveGlob(pattern[1:], name) || len(name) > 0 && naiveGlob(pattern, name[1:])
	}
	return len(name) > 0 && (pattern[0] == '?' || pattern[0] == name[0]) && naiveGlob(pattern[1:], name[1:])
}

func naiveMatch(pattern string, d policy.Domain) bool {
	switch {
	case pattern == "*":
		return true
	case pattern == "@backend":
		return d.Backend
	case pattern == "@dom0":
		return d.ID == 0
	case strings.HasPrefix(pattern, "@tag:"):
		return slices.Contains(d.Tags, pattern[5:])
	case strings.HasPrefix(pattern, "uuid:"):
		return !d.TwinUUID && strings.EqualFold(pattern[5:], d.UUID)
	}
	return d.Name != "" && !d.Twin && naiveGlob([]rune(pattern), []rune(d.Name))
}

// naiveAnswer is what the rules come to for a pair.
type naiveAnswer struct {
	rules  []naiveRule  // about the pair
	ranges []naiveRange // allowed
	cut    bool
}

type naiveRange struct {
	first, last uint64
	rule        naiveRule
}

func (a naiveAnswer) first(port uint64) (naiveRule, bool) {
	for _, r := range a.rules {
		for _, s := range naiveSpans(r.ports) {
			if s[0] <= port && port <= s[1] {
				return r, true
			}
		}
	}
	return naiveRule{}, false
}

// allowed is the rule that allows the port, as it is enforced.
func (a naiveAnswer) allowed(port uint64) (naiveRule, bool) {
	for _, r := range a.ranges {
		if r.first <= port && port <= r.last {
			return r.rule, true
		}
	}
	return naiveRule{}, false
}

// edges are all ports from which on another rule may decide.
func (a naiveAnswer) edges() (all []uint64) {
	for _, r := range a.rules {
		for _, s := range naiveSpans(r.ports) {
			all = append(all, s[0], s[1]+1)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func naiveAsk(rules []naiveRule, src, dst policy.Domain) (a naiveAnswer) {
	for _, r := range rules {
		if naiveMatch(r.source, src) && naiveMatch(r.destination, dst) {
			a.rules = append(a.rules, r)
		}
	}
	edges := a.edges()
	for i := 0; i+1 < len(edges); i++ {
		r, found := a.first(edges[i])
		if !found || !r.allow {
			continue
		}
		if n := len(a.ranges); n > 0 && a.ranges[n-1].rule == r && a.ranges[n-1].last+1 == edges[i] {
			a.ranges[n-1].last = edges[i+1] - 1
		} else {
			a.ranges = append(a.ranges, naiveRange{edges[i], edges[i+1] - 1, r})
		}
	}
	if len(a.ranges) > 64 {
		a.ranges, a.cut = a.ranges[:64], true
	}
	return a
}
