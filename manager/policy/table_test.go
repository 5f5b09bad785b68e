package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"xvsock/manager/policy"
	"xvsock/xen"
)

func TestTablesListWhatIsAllowed(t *testing.T) {
	ranges := func(s *policy.Set, src, dst policy.Domain) string {
		var all []string
		for _, r := range s.Table(src, dst).Ranges {
			all = append(all, fmt.Sprintf("%d-%d:%d", r.First, r.Last, r.Rule.Line))
		}
		return strings.Join(all, " ")
	}
	for _, c := range []struct{ name, rules, want string }{
		{"nothing", "", ""},
		{"all ports", "* * * allow", "2-4294967294:1"},
		{"a hole", "100 * * deny\n* * * allow", "2-99:2 101-4294967294:2"},
		{"an earlier rule inside", "100-200 * * allow\n* * * allow log", "2-99:2 100-200:1 201-4294967294:2"},
		{"rules that overlap", "10-20 * * allow\n15-30 * * allow conns=1\n5-40 * * deny\n* * * deny", "10-20:1 21-30:2"},
		{"a later rule ends first", "10-40 * * allow\n20-30 * * allow log", "10-40:1"},
		{"neighbours by one rule", "10,11,12 * * allow", "10-12:1"},
		{"neighbours by two rules", "10 * * allow\n11 * * allow", "10-10:1 11-11:2"},
		{"a rule hidden whole", "* * * deny\n10 * * allow", ""},
		{"the last port", "4294967294 * * allow\n4294967293 * * deny\n* * * allow", "2-4294967292:3 4294967294-4294967294:1"},
	} {
		if got := ranges(parse(t, c.rules), web1, db1); got != c.want {
			t.Errorf("%s: %s; want %s", c.name, got, c.want)
		}
	}
}

func TestTheRulesOfAPairSayAccessAndRing(t *testing.T) {
	s := parse(t, `
10 web-1 db1 allow ring=8K
20 web-1 db1 allow ring=128K access=copy
30 web-1 db1 allow access=map
10 web-2 db1 deny
10 web-2 db1 allow ring=1M access=map
40 web-2 db1 allow
`)
	if table := s.Table(web1, db1); table.Access != policy.AccessMap || table.Ring != 128<<10 {
		t.Errorf("access %v, ring %d", table.Access, table.Ring)
	}
	if table := s.Table(web2, db1); table.Access != policy.AccessCopy || table.Ring != 0 {
		t.Errorf("a rule that decides nothing sets access %v, ring %d", table.Access, table.Ring)
	}
}

// spread is rules for every second port from 10 on, many in all.
func spread(many int, more string) string {
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, "%d * * allow%s\n", 10+2*i, more)
	}
	return b.String()
}

func TestATableIsCutAtSixtyFourRanges(t *testing.T) {
	if table := parse(t, spread(64, "")).Table(web1, db1); table.Cut || len(table.Ranges) != 64 {
		t.Errorf("64 ranges: %d, cut %v", len(table.Ranges), table.Cut)
	}
	s := parse(t, spread(65, " ring=1M"))
	table := s.Table(web1, db1)
	if !table.Cut || len(table.Ranges) != 64 || table.Find(136) == nil || table.Find(138) != nil {
		t.Errorf("65 ranges: %d, cut %v", len(table.Ranges), table.Cut)
	}
	if d := s.Decide(web1, db1, 138); d.Allow || !d.Cut || line(d.Rule) != 65 || !d.Reachable {
		t.Errorf("the port cut off: %+v", d)
	}
	if d := s.Decide(web1, db1, 137); d.Allow || d.Cut || d.Rule != nil {
		t.Errorf("a port that no rule matches: %+v", d)
	}
	if parse(t, spread(64, "")+"138 * * allow ring=1M").Table(web1, db1).Ring != 0 {
		t.Error("a rule that was cut off has a say in the ring")
	}
}

func TestTablesAreInterned(t *testing.T) {
	s := parse(t, "7 web-* db1 allow\n8 * db1 deny\n* ops * allow\n* * * deny")
	one := s.Table(web1, db1)
	if one != s.Table(web2, db1) || one != s.Between(s.Match(web1), s.Match(db1)) {
		t.Error("the same rules give another table")
	}
	if s.Table(db1, web1) != s.Table(unnamed, db1) {
		t.Error("nothing allowed is another table where other rules deny it")
	}
	if one == s.Table(admin, db1) || one.Equal(s.Table(admin, db1)) {
		t.Error("another outcome is the same table")
	}
	again := parse(t, "\n9 x y allow\n7 web-* db1 allow\n8 * db1 deny")
	if one == again.Table(web1, db1) || !one.Equal(again.Table(web1, db1)) {
		t.Error("another set's table of the same outcome is not equal")
	}
	for _, other := range []string{"7 web-* db1 allow log", "7,8 web-* db1 allow", "", "7 web-1 db1 allow"} {
		if one.Equal(parse(t, other).Table(web1, db1)) {
			t.Errorf("%q is equal", other)
		}
	}
}

// many makes a set in which each of 2^n domains has rules of its own, so that
// nearly every pair has another table.
func many(t testing.TB, tags int) (*policy.Set, []policy.Domain) {
	var b strings.Builder
	for i := range tags {
		fmt.Fprintf(&b, "%d @tag:t%d * allow\n%d * @tag:t%d allow\n", 10+4*i, i, 12+4*i, i)
	}
	var domains []policy.Domain
	for i := range 1 << tags {
		d := policy.Domain{ID: xen.DomID(i)}
		for bit := range tags {
			if i>>bit&1 == 1 {
				d.Tags = append(d.Tags, fmt.Sprintf("t%d", bit))
			}
		}
		domains = append(domains, d)
	}
	return parse(t, b.String()), domains
}

func TestWhatIsInternedIsBounded(t *testing.T) {
	s, domains := many(t, 7)
	tables := make(map[*policy.Table]bool)
	empty := s.Table(domains[0], domains[0])
	for _, src := range domains {
		for _, dst := range domains {
			tables[s.Table(src, dst)] = true
			if n := policy.Interned(s); n > 4096 {
				t.Fatalf("%d tables are kept", n)
			}
		}
	}
	if len(tables) != 1<<14 || s.Table(domains[0], domains[0]) != empty {
		t.Errorf("%d tables", len(tables))
	}
}
