package policy_test

import (
	"testing"

	"go.uber.org/goleak"

	"xvsock/manager/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse makes a set of one file, named p.
func parse(t testing.TB, text string) *policy.Set {
	t.Helper()
	s, err := policy.Parse([]policy.File{{Name: "p", Text: text}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line is where a rule stands, 0 for none.
func line(r *policy.Rule) int {
	if r == nil {
		return 0
	}
	return r.Line
}

// Domains that the tests are about.
var (
	dom0    = policy.Domain{ID: 0, Name: "Domain-0", UUID: "00000000-0000-0000-0000-000000000000", Backend: true}
	web1    = policy.Domain{ID: 1, Name: "web-1", UUID: "11111111-aaaa-4111-8111-abcdefabcdef", Tags: []string{"web", "edge"}}
	web2    = policy.Domain{ID: 2, Name: "web-2", UUID: "22222222-aaaa-4111-8111-abcdefabcdef", Tags: []string{"web"}}
	db1     = policy.Domain{ID: 3, Name: "db1", UUID: "33333333-aaaa-4111-8111-abcdefabcdef"}
	admin   = policy.Domain{ID: 4, Name: "ops", UUID: "44444444-aaaa-4111-8111-abcdefabcdef", Tags: []string{"admin"}}
	unnamed = policy.Domain{ID: 5, UUID: "55555555-aaaa-4111-8111-abcdefabcdef"}
)

// twinOf is another domain of that name; each of the two has to be told.
func twinOf(d policy.Domain) policy.Domain {
	d.Twin = true
	return d
}

// uuidTwinOf is another domain of that uuid.
func uuidTwinOf(d policy.Domain) policy.Domain {
	d.TwinUUID = true
	return d
}
