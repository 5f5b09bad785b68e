package policy_test

import (
	"slices"
	"testing"

	"xvsock/manager/policy"
)

func TestExplain(t *testing.T) {
	const rules = `
7 web-1 db1 deny log
8 web-1 db1 allow
* web-* * allow
7 * db1 allow
7 ops * allow
* * * deny
5 uuid:44444444-aaaa-4111-8111-abcdefabcdef * allow
`
	for _, c := range []struct {
		name      string
		src, dst  policy.Domain
		port      uint32
		rule      int
		later     []int
		ambiguous []int
	}{
		{"the rules behind the one that decides", web1, db1, 7, 2, []int{4, 5, 7}, nil},
		{"rules for other ports are left out", web1, db1, 9, 4, []int{7}, nil},
		{"one rule alone", db1, web1, 9, 7, nil, nil},
		{"no rule", web1, db1, 1, 0, nil, nil},
		{"the source's name is another's too", twinOf(web1), db1, 7, 5, []int{7}, []int{2, 4}},
		{"the source's uuid is another's too", uuidTwinOf(admin), web1, 5, 7, nil, []int{8}},
		{"the destination's name is another's too", web1, twinOf(db1), 7, 4, []int{7}, []int{2, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := parse(t, rules).Explain(c.src, c.dst, c.port)
			if line(e.Rule) != c.rule || !slices.Equal(lines(e.Later), c.later) || !slices.Equal(lines(e.Ambiguous), c.ambiguous) {
				t.Errorf("line %d, later %v, ambiguous %v", line(e.Rule), lines(e.Later), lines(e.Ambiguous))
			}
			if d := parse(t, rules).Decide(c.src, c.dst, c.port); d.Allow != e.Allow || d.Reachable != e.Reachable {
				t.Errorf("Explain says %+v; Decide says %+v", e.Decision, d)
			}
		})
	}
}

func lines(rules []*policy.Rule) (all []int) {
	for _, r := range rules {
		all = append(all, r.Line)
	}
	return all
}
