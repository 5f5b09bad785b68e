package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"xvsock/manager/policy"
	"xvsock/xen"
)

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

var uuids = []string{
	"11111111-aaaa-4111-8111-abcdefabcdef", "22222222-AAAA-4111-8111-abcdefabcdef",
	"33333333-aaaa-4111-8111-ABCDEFABCDEF", "00000000-0000-0000-0000-000000000000", "",
}

// randomDomain is one of few, so that patterns match.
func randomDomain(r *rand.Rand) policy.Domain {
	d := policy.Domain{
		ID:      xen.DomID(r.IntN(3)),
		Name:    pick(r, "", "a", "b", "ab", "ba", "web-1", "web-2", "w\u00e4b-1", "*", "@dom0"),
		UUID:    pick(r, uuids...),
		Backend: r.IntN(3) == 0,
		Twin:    r.IntN(4) == 0,

		TwinUUID: r.IntN(4) == 0,
	}
	for _, tag := range []string{"x", "y", "X"} {
		if r.IntN(3) == 0 {
			d.Tags = append(d.Tags, tag)
		}
	}
	return d
}

func randomPattern(r *rand.Rand) string {
	switch r.IntN(8) {
	case 0, 1:
		return "*"
	case 2:
		return pick(r, "@backend", "@dom0")
	case 3:
		return "@tag:" + pick(r, "x", "y", "X", "z")
	case 4:
		id := pick(r, uuids[:3]...)
		return "uuid:" + pick(r, id, strings.ToLower(id), strings.ToUpper(id))
	case 5:
		return pick(r, "a", "b", "ab", "web-1", "web-2", "w\u00e4b-1")
	case 6:
		return pick(r, "web-*", "w?b-?", "*-1", "w*b*", "?*", "*?", "?", "??", "*a*b*")
	}
	var b strings.Builder
	for range 1 + r.IntN(5) {
		b.WriteString(pick(r, "a", "b", "?", "*", "w"))
	}
	if strings.Trim(b.String(), "*") == "" {
		return "a*"
	}
	return b.String()
}

func randomPort(r *rand.Rand) uint32 {
	switch r.IntN(8) {
	case 0:
		return 0xFFFFFFFE - uint32(r.IntN(4))
	case 1:
		return 2 + r.Uint32N(0xFFFFFFFC)
	}
	return 2 + uint32(r.IntN(24))
}

func randomPorts(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return "*"
	}
	n := 1 + r.IntN(4)
	spread := r.IntN(40) == 0
	if spread {
		n = 30 + r.IntN(35)
	}
	items := make([]string, n)
	for i := range items {
		switch a, b := randomPort(r), randomPort(r); {
		case spread:
			items[i] = fmt.Sprint(2 + r.IntN(400))
		case r.IntN(3) == 0:
			items[i] = fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		case r.IntN(3) == 0:
			items[i] = pick(r, "discovery", "health", "control", "metrics", "log", "echo", "ssh")
		default:
			items[i] = fmt.Sprint(a)
		}
	}
	return strings.Join(items, ",")
}

func randomRule(r *rand.Rand) string {
	fields := []string{randomPorts(r), randomPattern(r), randomPattern(r), pick(r, "allow", "allow", "deny")}
	if fields[3] == "allow" {
		for _, p := range []string{
			pick(r, "conns=", "rate=") + fmt.Sprint(1+r.IntN(99)), "access=" + pick(r, "map", "copy"), "ring=" + pick(r, "4K", "65536", "1M", "512K"),
		} {
			if r.IntN(4) == 0 {
				fields = append(fields, p)
			}
		}
	}
	if r.IntN(4) == 0 {
		fields = append(fields, "log")
	}
	return strings.Join(fields, pick(r, " ", "\t", "  "))
}

func randomRules(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(9) {
		b.WriteString(pick(r, "", "", "", "# deny\n", "\n") + randomRule(r) + pick(r, "\n", "\n", " #7 a b deny\n"))
	}
	return b.String()
}

// askedPorts are some at random and some where one rule ends and another begins.
func askedPorts(r *rand.Rand, a naiveAnswer) []uint32 {
	ports := []uint32{randomPort(r), randomPort(r), pick[uint32](r, 0, 1, 0xFFFFFFFF)}
	if edges := a.edges(); len(edges) > 0 {
		at := uint32(pick(r, edges...))
		ports = append(ports, at, at-1)
	}
	return ports
}

func sameRule(r *policy.Rule, n naiveRule) bool {
	return r.Line == n.line && r.Allow == n.allow && int(r.Conns) == n.conns && int(r.Rate) == n.rate && r.Ring == n.ring &&
		r.Access.String() == n.access && r.Log == n.log
}

// differ compares all answers about a pair, and says where they differ.
func differ(r *rand.Rand, s *policy.Set, rules []naiveRule, src, dst policy.Domain) error {
	want, table := naiveAsk(rules, src, dst), s.Table(src, dst)
	if len(table.Ranges) != len(want.ranges) || table.Cut != want.cut {
		return fmt.Errorf("table %+v; want %+v", table, want)
	}
	access, ring := "copy", 0
	for i, w := range want.ranges {
		if got := table.Ranges[i]; uint64(got.First) != w.first || uint64(got.Last) != w.last || !sameRule(got.Rule, w.rule) {
			return fmt.Errorf("range %d is %+v; want %+v", i, got, w)
		}
		ring = max(ring, w.rule.ring)
		if w.rule.access == "map" {
			access = "map"
		}
	}
	if table.Access.String() != access || table.Ring != ring {
		return fmt.Errorf("access %v ring %d; want %v %d", table.Access, table.Ring, access, ring)
	}
	for _, port := range askedPorts(r, want) {
		d := s.Decide(src, dst, port)
		first, found := want.first(uint64(port))
		by, allowed := want.allowed(uint64(port))
		find := table.Find(port)
		if d.Allow != allowed || d.Reachable != (len(want.ranges) > 0) || (d.Rule != nil) != found || found && !sameRule(d.Rule, first) ||
			d.Cut != (found && first.allow && !allowed) || (find != nil) != allowed || allowed && !sameRule(find, by) {
			return fmt.Errorf("port %d: %+v; want allow=%v by %+v", port, d, allowed, first)
		}
	}
	return nil
}

func TestAgreesWithTheNaiveEvaluator(t *testing.T) {
	sets := 100_000
	if testing.Short() {
		sets = 2_000
	}
	seed := rand.Uint64()
	var questions, cuts atomic.Int64
	var workers sync.WaitGroup
	for w := range 2 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for range sets / 2 {
				text := randomRules(r)
				s, err := policy.Parse([]policy.File{{Name: "p", Text: text}})
				if err != nil {
					t.Errorf("%v in\n%s", err, text)
					return
				}
				rules := naiveParse(text)
				for range 2 {
					src, dst := randomDomain(r), randomDomain(r)
					if err := differ(r, s, rules, src, dst); err != nil {
						t.Errorf("seed %d: %v\nfrom %+v\nto %+v\n%s", seed, err, src, dst, text)
						return
					}
					if s.Table(src, dst).Cut {
						cuts.Add(1)
					}
					questions.Add(1)
				}
			}
		})
	}
	workers.Wait()
	t.Logf("seed %d: %d pairs, %d of them cut", seed, questions.Load(), cuts.Load())
	if !testing.Short() && cuts.Load() == 0 {
		t.Error("no pair had more ranges than a table takes")
	}
}
