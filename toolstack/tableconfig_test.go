package toolstack_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/toolstack"
)

func TestATableSaysWhatDomainsAreTold(t *testing.T) {
	tab, err := read(t, `
[[domain]]
name = "kv"
tags = ["store"]
[domain.config]
mode = "frontend"
strict = true
budget = ["links=16", "burst=7"]
service = [
	"echo",
	'kv:7000:exec:/bin/kv "a b"',
]
module = []

[[domain]]
uuid = "`+uuid1+`"
config.log = "debug"   # on one line
config.max = 5

[[domain]]
name = "empty"
[ domain.config ]  # told nothing any more

[[domain]]
name = "in-line"
config = { log = "warn" }

[[domain]]
name = "plain"
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d    toolstack.Domain
		want config
	}{
		{toolstack.Domain{Name: "kv"}, config{
			"mode": {"frontend"}, "strict": {"true"}, "budget": {"links=16", "burst=7"},
			"service": {"echo", `kv:7000:exec:/bin/kv "a b"`},
		}},
		{toolstack.Domain{Name: "plain", UUID: uuid1}, config{"log": {"debug"}, "max": {"5"}}},
		{toolstack.Domain{Name: "empty"}, config{}},
		{toolstack.Domain{Name: "in-line"}, config{"log": {"warn"}}},
		{toolstack.Domain{Name: "plain"}, nil},
		{toolstack.Domain{Name: "unknown"}, nil},
		{toolstack.Domain{}, nil},
	} {
		if diff := cmp.Diff(c.want, tab.Config(c.d)); diff != "" {
			t.Errorf("%v is told (-want +got):\n%s", c.d, diff)
		}
	}
	tab.Config(toolstack.Domain{Name: "kv"})["mode"][0] = "changed"
	if got := tab.Config(toolstack.Domain{Name: "kv"})["mode"][0]; got != "frontend" {
		t.Errorf("a caller has changed the table: %s", got)
	}
	if got := (*toolstack.Table)(nil).Config(toolstack.Domain{Name: "kv"}); got != nil {
		t.Errorf("no table tells %v", got)
	}
}

func TestAnErrorInWhatDomainsAreToldNamesFileAndLine(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"config = 1\n", ":3: config is no table: write [domain.config]"},
		{"[[domain.config]]\nlog = \"x\"\n", ":3: config is no table: write [domain.config]"},
		{"[domain.config]\nmode = \"x\"\nname = 1.5\n", ":5: name is no string, whole number or boolean, and no array of them"},
		{"[domain.config]\nlog = \"x\"\nModules = \"y\"\n", ":5: key \"Modules\": use a-z, 0-9 and -"},
		{"[domain.config]\n\"a b\" = \"y\"\n", ":3: key \"a b\": use a-z, 0-9 and -"},
		{"[domain.config]\nlog = { a = 1 }\n", ":4: log is no string"},
		{"tags = []\nconfig.log = 1.5\n", ":4: log is no string"},
		{"tags = []\nconfig = { mode = \"a\", log = 1.5 }\n", ":4: log is no string"},
		{"config.log.a = 1\n", ":3: log is no string, whole number or boolean, and no array of them"},
		{"[domain.config.log]\na = 1\n", ":1: log is no string"},
		{"[domain.config]\n\nservice = [\"a\", 1.5]\n", ":5: a value of service is no string, whole number or boolean"},
		{"[domain.config]\nservice = [[\"a\"]]\n", ":4: a value of service is no string"},
		{"[domain.config]\nname = \"" + strings.Repeat("x", 2049) + "\"\n", ":4: bad configuration: a value of name is longer than 2048 bytes or not text"},
		{"[domain.config]\nname = \"a\\nb\"\n", ":4: bad configuration"},
		{"[domain.config]\nmodule = [" + manyTags(257) + "]\n", ":4: bad configuration: more than 256 values"},
		{"[domain.config]\nlog = \"a\"\nlog = \"b\"\n", ":5: "},
		{"[domain.config]\nlog = a\n", ":4: "},
		{"[domain.confg]\nlog = \"a\"\n", ": unknown key \"confg\""},
	} {
		tab, err := read(t, "[[domain]]\nname = \"a\"\n"+c.text)
		var bad *toolstack.TableError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) || tab != nil {
			t.Errorf("%.60q: %v; want %q", c.text, err, c.want)
		}
	}
}
