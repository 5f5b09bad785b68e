package policy_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"xvsock/manager/policy"
)

func TestTheFirstMatchingRuleDecides(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		src, dst    policy.Domain
		port        uint32
		allow       bool
		line        int // of the rule, 0: none
		reachable   bool
	}{
		{"no rules", "", web1, db1, 7, false, 0, false},
		{"a port of a list", example, web1, db1, 7, true, 3, true},
		{"the end of a range", example, web2, db1, 7010, true, 3, true},
		{"behind the range", example, web2, db1, 7011, false, 5, true},
		{"the way back", example, db1, web1, 7, false, 5, false},
		{"a tag", example, admin, web1, 0xFFFFFFFE, true, 4, true},
		{"port 1", example, admin, dom0, 1, false, 0, true},
		{"port 0", example, admin, web1, 0, false, 0, true},
		{"the port that means any", example, admin, web1, 0xFFFFFFFF, false, 0, true},
		{"the backend", example, db1, dom0, 2, true, 2, true},
		{"a backend that is not domain 0", "7 * @backend allow\n8 * @dom0 allow", web1, policy.Domain{ID: 9, Name: "x", Backend: true}, 8, false, 0, true},
		{"domain 0 that is not the backend", "7 * @backend allow\n8 * @dom0 allow", web1, policy.Domain{ID: 0, Name: "x"}, 8, true, 2, true},
		{"domain 0 by its name", "7 Domain-0 * allow", dom0, web1, 7, true, 1, true},
		{"a deny before the allow", "7 web-1 * deny\n* web-* * allow", web1, db1, 7, false, 1, true},
		{"an allow before the deny", "7 web-* * allow\n* web-1 * deny", web1, db1, 7, true, 1, true},
		{"a uuid in other letters", "7 uuid:" + strings.ToUpper(web1.UUID) + " * allow", web1, db1, 7, true, 1, true},
		{"a uuid that is a prefix of nothing", "7 uuid:" + web1.UUID + " * allow", web2, db1, 7, false, 0, false},
		{"a name in other letters", "7 WEB-1 * allow", web1, db1, 7, false, 0, false},
		{"a tag in other letters", "7 @tag:Web * allow", web1, db1, 7, false, 0, false},
		{"the second tag", "7 @tag:edge * allow", web1, db1, 7, true, 1, true},
		{"a tag as a name", "7 web * allow", web1, db1, 7, false, 0, false},
		{"a name that two domains have", "7 web-1 * allow", twinOf(web1), db1, 7, false, 0, false},
		{"a glob on a name that two domains have", "7 we* * allow\n7 * d?1 allow", web1, twinOf(db1), 7, true, 1, true},
		{"the destination's name that two domains have", "7 * d?1 allow", web1, twinOf(db1), 7, false, 0, false},
		{"every domain, twins too", "7 * * allow", twinOf(web1), twinOf(db1), 7, true, 1, true},
		{"the uuid of a twin", "7 uuid:" + web1.UUID + " * allow", twinOf(web1), db1, 7, true, 1, true},
		{"a uuid that two domains have", "7 uuid:" + web1.UUID + " * allow", uuidTwinOf(web1), db1, 7, false, 0, false},
		{"the destination's uuid that two domains have", "7 * uuid:" + db1.UUID + " allow", web1, uuidTwinOf(db1), 7, false, 0, false},
		{"the name of one whose uuid is another's too", "7 web-1 * allow", uuidTwinOf(web1), db1, 7, true, 1, true},
		{"the tag of a twin", "7 @tag:web * allow", twinOf(web1), db1, 7, true, 1, true},
		{"no name", "7 ?* * allow", unnamed, db1, 7, false, 0, false},
		{"no name, of the destination", "7 * ?* allow", db1, unnamed, 7, false, 0, false},
		{"every domain, without a name too", "7 * * allow", unnamed, db1, 7, true, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parse(t, c.rules)
			d := s.Decide(c.src, c.dst, c.port)
			if d.Allow != c.allow || line(d.Rule) != c.line || d.Reachable != c.reachable || d.Cut {
				t.Errorf("Decide = %+v (line %d)", d, line(d.Rule))
			}
			if j := s.Judge(s.Match(c.src), s.Match(c.dst), c.port); j != d {
				t.Errorf("Judge = %+v; Decide = %+v", j, d)
			}
			if allowed := s.Table(c.src, c.dst).Find(c.port) != nil; allowed != c.allow {
				t.Errorf("the table allows: %v", allowed)
			}
		})
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"abc", "abc", true}, {"abc", "abcd", false}, {"abc", "ab", false}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"a*c", "ac", true},
		{"a*c", "abcbc", true}, {"a*c", "abcb", false}, {"*c", "c", true}, {"*a*b*", "xxaxxbxx", true}, {"*a*b*", "xxbxxaxx", false},
		{"?*", "x", true}, {"a?", "aä", true}, {"a??", "aä", false}, {"*??", "€", false}, {"*??ab", "€ab", false}, {"ä*", "äb", true}, {"*b", "äb", true}, {"?", "\xff", true},
		{"a*?", "a", false}, {"a***", "a", true}, {"a-b.c_d+e", "a-b.c_d+e", true},
	} {
		d := policy.Domain{ID: 1, Name: c.name}
		if got := parse(t, "7 "+c.pattern+" * allow").Decide(d, d, 7).Allow; got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.name, got)
		}
	}
	// A pattern that backtracking matchers never finish.
	d := policy.Domain{ID: 1, Name: strings.Repeat("a", 4000)}
	if parse(t, "7 "+strings.Repeat("a*", 480)+"b * allow").Decide(d, d, 7).Allow {
		t.Error("a name without b matches a pattern that ends in b")
	}
}

func TestFactsOfAnotherSetAllowNothing(t *testing.T) {
	s, old := parse(t, "* * * allow"), parse(t, "* * * allow")
	for _, f := range [][2]policy.Facts{{}, {s.Match(web1), old.Match(db1)}, {old.Match(web1), s.Match(db1)}, {old.Match(web1), old.Match(db1)}} {
		if table := s.Between(f[0], f[1]); len(table.Ranges) != 0 {
			t.Errorf("allowed: %+v", table)
		}
		if d := s.Judge(f[0], f[1], 7); d != (policy.Decision{}) {
			t.Errorf("decided: %+v", d)
		}
	}
}

func TestDecisionsAllocateNothing(t *testing.T) {
	s := parse(t, example+spread(500, ""))
	from, to := s.Match(web1), s.Match(db1)
	foreign := parse(t, "").Match(web1)
	table := s.Between(from, to)
	for name, f := range map[string]func(){
		"an allowed port":           func() { s.Judge(from, to, 7) },
		"a denied port":             func() { s.Judge(from, to, 9999) },
		"a pair without any":        func() { s.Judge(to, from, 7) },
		"facts of another set":      func() { s.Judge(foreign, to, 7) },
		"a decision about domains":  func() { s.Decide(web1, db1, 9999) },
		"a table that is known":     func() { s.Between(from, to) },
		"a port found in a table":   func() { table.Find(7005) },
		"a port missing in a table": func() { table.Find(9999) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestManyAskAtOnce(t *testing.T) {
	s, domains := many(t, 5)
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 2000 {
				src, dst := domains[r.IntN(len(domains))], domains[r.IntN(len(domains))]
				bit := r.IntN(5)
				want := int(src.ID)>>bit&1 == 1
				if s.Decide(src, dst, uint32(10+4*bit)).Allow != want {
					t.Errorf("from %v to %v port %d: want %v", src, dst, 10+4*bit, want)
					return
				}
			}
		})
	}
	asking.Wait()
}
