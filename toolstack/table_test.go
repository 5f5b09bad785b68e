package toolstack_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/toolstack"
)

// read reads a table with the given text.
func read(t testing.TB, text string) (*toolstack.Table, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "domains.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return toolstack.ReadTable(path)
}

const uuid1, uuid2 = "11111111-2222-4333-8444-aaaaaaaaaaaa", "22222222-2222-4333-8444-aaaaaaaaaaaa"

const table = `# who is who
[[domain]]
name = "web"
tags = ["edge", "web", "edge"]

[[ domain ]]  # by uuid
uuid = "11111111-2222-4333-8444-AAAAAAAAAAAA"
name = "db"
id = 7
tags = [
	"store",
]
[[domain]]
uuid = "22222222-2222-4333-8444-aaaaaaaaaaaa"
name = "db"
[[domain]]
name = "Domain-0"
id = 0
`

func TestTagsAreFoundByUUIDElseByName(t *testing.T) {
	tab, err := read(t, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d    toolstack.Domain
		want []string
	}{
		{toolstack.Domain{ID: 3, Name: "web", UUID: uuid2[:35] + "b"}, []string{"edge", "web"}},
		{toolstack.Domain{ID: 3, Name: "web"}, []string{"edge", "web"}},
		{toolstack.Domain{ID: 3, Name: "Web"}, nil},
		{toolstack.Domain{ID: 3, Name: "renamed", UUID: uuid1}, []string{"store"}},
		{toolstack.Domain{ID: 7, Name: "db"}, nil},                // has the name, not the uuid
		{toolstack.Domain{ID: 7, Name: "x"}, nil},                 // has the id
		{toolstack.Domain{ID: 7, Name: "web", UUID: uuid2}, nil},  // the uuid comes before the name
		{toolstack.Domain{ID: 7}, nil}, {toolstack.Domain{}, nil}, // no name is no name
		{toolstack.Domain{ID: 0, Name: "Domain-0"}, nil},      // no tags
		{toolstack.Domain{ID: 1, Name: "db", UUID: "x"}, nil}, // an empty uuid is no uuid
		{toolstack.Domain{Name: "web", UUID: uuid1}, []string{"store"}},
	} {
		if got := tab.Tags(c.d); !slices.Equal(got, c.want) {
			t.Errorf("tags of %+v are %q, want %q", c.d, got, c.want)
		}
	}
	tab.Tags(toolstack.Domain{Name: "web"})[0] = "changed"
	if got := tab.Tags(toolstack.Domain{Name: "web"})[0]; got != "edge" {
		t.Errorf("a caller has changed the table: %s", got)
	}
	if got := (*toolstack.Table)(nil).Tags(toolstack.Domain{Name: "web"}); got != nil {
		t.Errorf("no table has tags %q", got)
	}
}

func TestDomainsOfATableHaveIDs(t *testing.T) {
	tab, err := read(t, table+"[[domain]]\nname = \"high\"\nid = 32751\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []toolstack.Tagged{
		{Domain: toolstack.Domain{ID: 0x7FEE, Name: "web"}, Tags: []string{"edge", "web"}},
		{Domain: toolstack.Domain{ID: 7, Name: "db", UUID: uuid1}, Tags: []string{"store"}},
		{Domain: toolstack.Domain{ID: 0x7FED, Name: "db", UUID: uuid2}},
		{Domain: toolstack.Domain{ID: 0, Name: "Domain-0"}},
		{Domain: toolstack.Domain{ID: 0x7FEF, Name: "high"}},
	}
	if diff := cmp.Diff(want, tab.Domains()); diff != "" {
		t.Errorf("domains (-want +got):\n%s", diff)
	}
	if got := (*toolstack.Table)(nil).Domains(); got != nil {
		t.Errorf("no table has domains %v", got)
	}
}

func TestAnErrorInATableNamesFileAndLine(t *testing.T) {
	for _, c := range []struct {
		text, want string
	}{
		{"[[domain]]\nname = \"a\"\n\n[[domain]]\nname = \"b\"\ntag = [\"x\"]\n", ":6: unknown key \"tag\""},
		{"[[domain]]\nname = \"a\"\nTags = []\n", ":3: unknown key \"Tags\""},
		{"[[domain]]\nname = \"a\"\n\"odd key\" = 1\n", ":1: unknown key \"odd key\""},
		{"[[domain]]\nname = \"a\"\n[domain.sub]\nx = 1\n", ":1: unknown key \"sub\""},
		{"[[domain]]\nname = \"a\"\n[[domian]]\nname = \"b\"\n", ":3: begin each domain with a line [[domain]]"},
		{"\n[[domains]]\nname = \"a\"\n", ":2: begin each domain with a line [[domain]]"},
		{"# x\n[ domains ]\nname = \"a\"\n", ":2: begin each domain with a line [[domain]]"},
		{"domain = 1\n", ":1: begin each domain with a line [[domain]]"},
		{"version = 1\n[[domain]]\nname = \"a\"\n", ":1: unknown key \"version\""},
		{"\n[domain]  # web\nname = \"a\"\n", ":2: begin each domain with a line [[domain]]"},
		{"\ndomain = []\n", ":2: begin each domain with a line [[domain]]"},
		{"\ndomain = [{name = \"a\"}]\n", ":2: begin each domain with a line [[domain]]"},
		{"[[domain]]\nname = \"a\"\n[[domain]]\nname = \"b\"\ntags = \"x\"\n", ":5: "},
		{"[[domain]]\nname = \"a\"\n[[domain]]\nname = b\n", ":4: "},
		{"[[domain]]\nname = \"a\"\n[[domain]]\nname = \"\"\"\n[[domain]]\nname = \"b\"\"\"\n", ":4: "},
		{"[[domain]]\nname = \"a\"\nname = \"b\"\n", ":3: "},
		{"[[domain\nname = \"a\"\n", ":2: "},
		{"[[domain]]\nname = \"a\"\ntags = [1]\n", ":3: tags are strings"},
		{"[[domain]]\nname = 1\n", ":2: name is no string"},
		{"\n\n[[domain]]\n", ":3: this domain has neither a name nor a uuid"},
		{"[[domain]]\nid = 1\ntags = [\"a\"]\n", ":1: this domain has neither"},
		{"[[domain]]\ntags = []\nname = \"\"\n", ":3: a name has"},
		{"[[domain]]\nname = \"" + strings.Repeat("a", 257) + "\"\n", ":2: a name has"},
		{"[[domain]]\nname = \"a\"\nuuid = \"\"\n", ":3: \"\" is no uuid"},
		{"[[domain]]\nuuid = \"11111111222243338444aaaaaaaaaaaa\"\n", ":2: "},
		{"[[domain]]\nuuid = \"11111111-2222-4333-8444-aaaaaaaaaaag\"\n", ":2: "},
		{"[[domain]]\nuuid = \"1111111--2222-4333-8444-aaaaaaaaaaaa\"\n", ":2: "},
		{"[[domain]]\nname = \"a\"\nid = 32752\n", ":3: 32752 is no id"},
		{"[[domain]]\nname = \"a\"\nid = 65536\n", ":3: "},
		{"[[domain]]\nname = \"a\"\nid = -1\n", ":3: "},
		{"[[domain]]\nname = \"a\"\nid = \"1\"\n", ":3: "},
		{"[[domain]]\nname = \"a\"\n  tags   = [\"a b\"]\n", ":3: \"a b\": bad tag"},
		{"[[domain]]\nname = \"a\"\ntags = [\"@a\"]\n", ":3: "},
		{"[[domain]]\nname = \"a\"\ntags = [" + manyTags(17) + "]\n", ":3: "},
		{"[[domain]]\nname = \"a\"\n[[domain]]\nname = \"a\"\n", ":4: name \"a\" stands there twice"},
		{"[[domain]]\nname = \"a\"\n[[domain]]\nname = \"a\"\nuuid = \"" + uuid1 + "\"\n", ":4: name \"a\""},
		{"[[domain]]\nname = \"a\"\nuuid = \"" + uuid1 + "\"\n[[domain]]\nname = \"a\"\n", ":5: name \"a\""},
		{"[[domain]]\nuuid = \"" + uuid1 + "\"\n[[domain]]\nuuid = \"" + strings.ToUpper(uuid1) + "\"\n", ":4: uuid"},
		{"[[domain]]\nname = \"a\"\nid = 4\n[[domain]]\nname = \"b\"\nid = 4\n", ":6: id 4"},
		{strings.Repeat("#", 1<<20+1), ":1: more than 1048576 bytes"},
		{"[[domain]]\nname = \"\xff\"\n", ":2: "},
	} {
		tab, err := read(t, c.text)
		var bad *toolstack.TableError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "domains.toml"+c.want) || tab != nil {
			t.Errorf("%.60q: %v; want %q", c.text, err, c.want)
		}
	}
}

// manyTags are so many tags, as in a list.
func manyTags(n int) string {
	var tags []string
	for i := range n {
		tags = append(tags, fmt.Sprintf("\"t%d\"", i))
	}
	return strings.Join(tags, ", ")
}

func TestATableIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range 4096 {
		fmt.Fprintf(&text, "[[domain]]\nname = \"d-%d\"\ntags = [%s]\n", i, manyTags(16))
	}
	tab, err := read(t, text.String())
	if err != nil || len(tab.Domains()) != 4096 {
		t.Fatalf("a table of 4096 domains: %v", err)
	}
	if _, err := read(t, text.String()+"[[domain]]\nname = \"x\"\n"); err == nil || !strings.Contains(err.Error(), ":12289: more than 4096 domains") {
		t.Errorf("a table of 4097 domains: %v", err)
	}
}

func TestATableMayBeEmptyButNotMissing(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\r\n\r\n"} {
		if tab, err := read(t, text); err != nil || len(tab.Domains()) > 0 {
			t.Errorf("%q: %v, %v", text, tab, err)
		}
	}
	if _, err := toolstack.ReadTable(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := toolstack.ReadTable(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	if _, err := os.Stat(toolstack.TablePath); errors.Is(err, fs.ErrNotExist) {
		if tab, err := toolstack.ReadDefaultTable(); err != nil || len(tab.Domains()) > 0 {
			t.Errorf("a missing default file: %v, %v", tab, err)
		}
	}
}

func TestWhoBearsANameTwiceHasNone(t *testing.T) {
	all := []toolstack.Domain{{ID: 1, Name: "a", UUID: uuid1}, {ID: 2, Name: "b"}, {ID: 3, Name: "b", UUID: uuid2}}
	for i, want := range []toolstack.Domain{{ID: 1, Name: "a", UUID: uuid1}, {ID: 2}, {ID: 3, UUID: uuid2}} {
		if got := toolstack.Distinct(all, all[i]); got != want {
			t.Errorf("Distinct(%v) = %v, want %v", all[i], got, want)
		}
	}
}
