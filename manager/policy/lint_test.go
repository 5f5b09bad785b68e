package policy_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/manager/policy"
)

func TestLint(t *testing.T) {
	known := []policy.Domain{dom0, web1, web2, db1, admin, unnamed}
	twins := []policy.Domain{dom0, twinOf(web1), twinOf(web1), db1}
	const redundant = "has no effect: no allow comes after it, and what no rule matches is denied anyway"
	const self = "has no effect: a domain may always connect to itself"
	const builtin = "has no effect: attaching allows port 2 of @backend, without limits"
	const unused = "access= and ring= have no effect between a frontend and @backend: they are for links between frontends"
	for _, c := range []struct {
		name, rules string
		domains     []policy.Domain
		want        []string
	}{
		{"nothing", "", known, nil},
		{"the design's example", example, known, []string{"p:5: " + redundant}},
		{"the same rule twice", "7 a b allow\n7 a b allow", nil, []string{"p:2: never matches: decided before by p:1 (allow)"}},
		{"a wider rule before", "7-9 web-* * deny\n8 web-1 db1 allow", nil, []string{"p:2: never matches: decided before by p:1 (deny)"}},
		{"a wider glob before", "7 w*-* b allow\n7 we?-*x b allow", nil, []string{"p:2: never matches: decided before by p:1 (allow)"}},
		{"a narrower rule before", "8 web-1 db1 allow\n7-9 web-* * allow", nil, nil},
		{"a ? before a *", "7 a? b allow\n7 a* b allow", nil, nil},
		{"a * before a ?", "7 a* b allow\n7 a? b allow", nil, []string{"p:2: never matches: decided before by p:1 (allow)"}},
		{"two rules that take all ports together", "7-9 * b allow\n6 a b allow\n10-20 a b deny\n8-12 a b allow", nil,
			[]string{"p:4: never matches: decided before by p:1 (allow), p:3 (deny)"}},
		{"two rules that leave a port", "7-9 a b allow\n11-20 a b deny\n8-12 a b allow", nil, nil},
		{"many rules together", "10 a b allow\n11 a b allow\n12 a b allow\n13 a b allow\n14 a b allow\n15 a b allow\n10-15 a b allow", nil,
			[]string{"p:7: never matches: decided before by p:1 (allow), p:2 (allow), p:3 (allow), p:4 (allow), 2 more"}},
		{"a name before a tag", "7 web-1 b allow\n7 @tag:web b allow", known[1:2], []string{
			`p:1: destination "b" matches none of the known domains`, `p:2: destination "b" matches none of the known domains`}},
		{"everybody to everybody", "7 * * allow", nil, []string{"p:1: allows this between any two domains, also those that are attached later"}},
		{"a deny at the end", "7 a b allow\n7 c d deny\n* * * deny", nil, []string{"p:2: " + redundant, "p:3: " + redundant}},
		{"a logged deny at the end", "7 a b allow\n* * * deny log", nil, nil},
		{"no domain of that name, uuid or tag", "7 web-3 @tag:nobody allow\n7 uuid:99999999-aaaa-4111-8111-abcdefabcdef ops allow", known, []string{
			`p:1: source "web-3" matches none of the known domains`, `p:1: destination "@tag:nobody" matches none of the known domains`,
			`p:2: source "uuid:99999999-aaaa-4111-8111-abcdefabcdef" matches none of the known domains`}},
		{"a name of two domains", "7 web-1 db1 allow", twins, []string{
			`p:1: source "web-1" matches only names that more than one domain has, which match nothing: use uuid:`}},
		{"a uuid of two domains", "7 uuid:" + web1.UUID + " db1 allow", []policy.Domain{uuidTwinOf(web1), uuidTwinOf(web1), db1}, []string{
			`p:1: source "uuid:11111111-aaaa-4111-8111-abcdefabcdef" is the uuid of more than one domain, and so matches none`}},
		{"no domain 0 among the domains", "7 @dom0 db1 allow", known[1:], nil},
		{"a domain to itself", "7 db1 db1 allow\n7 @dom0 @dom0 deny log\n7 d* d* allow\n7 @tag:a @tag:a allow", nil, []string{"p:1: " + self, "p:2: " + self}},
		{"discovery forbidden", "2 a @backend deny\n7,2 a @backend deny\n7 a b allow", nil, []string{"p:1: " + builtin}},
		{"discovery limited", "discovery a @backend allow conns=4", nil, []string{"p:1: " + builtin}},
		{"discovery of another domain", "discovery a b deny\n7 a b allow", nil, nil},
		{"a ring for a front link", "7 a @backend allow ring=64K\n7 @backend a allow access=map\n7 @dom0 a allow access=map", nil,
			[]string{"p:1: " + unused, "p:2: " + unused}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, w := range policy.Lint(parse(t, c.rules), c.domains) {
				got = append(got, w.String())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLintFindsPairsWithTooManyRanges(t *testing.T) {
	rules := strings.ReplaceAll(spread(65, ""), "* *", "web-* db1")
	got := policy.Lint(parse(t, rules), []policy.Domain{web1, web2, db1})
	const want = `from "web-1" (1) to "db1" (3) rules allow more than 64 ranges of ports: those above 136 are denied, so join ranges`
	if len(got) != 1 || got[0].String() != want {
		t.Errorf("%v; want one for both pairs: %s", got, want)
	}
	if got := policy.Lint(parse(t, rules), nil); len(got) != 0 {
		t.Errorf("without domains: %v", got)
	}
}

// Whatever is asked, a rule that is said to match never is not the one that
// decides, and one without effect can go.
func TestLintClaimsNothingUntrue(t *testing.T) {
	sets := 10_000
	if testing.Short() {
		sets = 500
	}
	seed, claims := rand.Uint64(), 0
	r := rand.New(rand.NewPCG(seed, 3))
	for range sets {
		text := randomRules(r)
		s := parse(t, text)
		never, redundant := make(map[*policy.Rule]bool), make(map[*policy.Rule]bool)
		for _, w := range policy.Lint(s, nil) {
			never[w.Rule] = never[w.Rule] || strings.HasPrefix(w.Reason, "never matches")
			redundant[w.Rule] = redundant[w.Rule] || strings.HasPrefix(w.Reason, "has no effect: no allow")
		}
		for range 5 {
			src, dst := randomDomain(r), randomDomain(r)
			for _, port := range askedPorts(r, naiveAsk(naiveParse(text), src, dst)) {
				d := s.Decide(src, dst, port)
				if never[d.Rule] || redundant[d.Rule] && d.Allow {
					t.Fatalf("seed %d: line %d decides port %d from %+v to %+v in\n%s", seed, line(d.Rule), port, src, dst, text)
				}
			}
		}
		claims += len(never)
	}
	if claims == 0 {
		t.Error("nothing was claimed")
	}
}
