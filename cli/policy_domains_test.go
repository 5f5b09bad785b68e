package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhomAQuestionIsAbout(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	put("10-a.policy", "7 web db allow\n8 uuid:7c9e6679-7425-40de-944b-e07fc1f90ae7 db allow\n9 @backend * allow\n10 @dom0 * allow\n11 twin db allow\n12 * * allow\n")
	table := put("domains.toml", "[[domain]]\nname = \"web\"\nuuid = \"7c9e6679-7425-40de-944b-e07fc1f90ae7\"\nid = 5\n[[domain]]\nname = \"db\"\n"+
		"[[domain]]\nname = \"twin\"\nuuid = \"7c9e6679-7425-40de-944b-e07fc1f90ae8\"\n[[domain]]\nname = \"twin\"\nuuid = \"7c9e6679-7425-40de-944b-e07fc1f90ae9\"\n"+
		"[[domain]]\nname = \"router\"\nid = 9\n[[domain]]\nname = \"Domain-0\"\ntags = [\"host\"]\n")
	for _, c := range []struct {
		question string // the policy's directory comes first, -d is the table
		code     int
		said     string
	}{
		{"check web db 7", 0, "10-a.policy:1"},
		{"check web db 8", 126, "no rule is about web to port bench of db"},
		{"check uuid:7C9E6679-7425-40DE-944B-E07FC1F90AE7 db 8", 0, "10-a.policy:2"},
		{"check uuid:7C9E6679 db 8", 1, "no such domain"},
		{"check @backend db 9", 0, "10-a.policy:3"},
		{"check @dom0 db 10", 0, "10-a.policy:4"},
		{"check 0 db 10", 0, "10-a.policy:4"},
		{"check Domain-0 db 10", 0, "10-a.policy:4"},
		{"check db 0 discovery", 0, "without a rule: manager,discovery"},
		{"check 7c9e6679-7425-40de-944b-E07FC1F90AE7 db 8", 0, "10-a.policy:2"},
		{"check 7c9e6679 db 8", 126, "no rule is about 7c9e6679"}, // a name
		{"check 00 db 10", 1, `"00" is an id: give --domains`},
		{"check web 5 7", 1, `"5" is an id: give --domains`},
		{"check web-* db 7", 1, `"web-*" is a pattern: name one domain, or give --domains`},
		{"check web d? 7", 1, "is a pattern"},
		{"check @tag:x db 7", 1, "no such domain"},
		{"check web @backend discovery", 0, "without a rule: manager,discovery"},
		{"check web @backend 3", 126, "no rule"},
		{"check @dom0 @backend 3", 0, "connect to itself"},
		{"check db db 3", 0, "connect to itself"},
		{"check web db 12", 0, "10-a.policy:6"},
		{"check web db 0", 125, "bad port"},
		{"check web db postgres", 125, "bad port"},

		{"-d check web db 7", 0, "10-a.policy:1"},
		{"-d check web db 8", 0, "10-a.policy:2"}, // the table knows its uuid
		{"-d check 5 db 8", 0, "10-a.policy:2"},
		{"-d check 7c9e6679-7425-40de-944b-e07fc1f90ae7 db 8", 0, "10-a.policy:2"},
		{"-d check nobody db 8", 1, `"nobody" is no name, uuid or id of a domain in `},
		{"-d check web nobody 8", 1, "no such domain"},
		{"-d check twin db 11", 126, "names more than one domain"},
		{"-d check web twin 7", 126, "names more than one domain"},
		{"-d check uuid:7c9e6679-7425-40de-944b-e07fc1f90ae8 db 11", 126, "denied: no rule"},
		{"-d explain uuid:7c9e6679-7425-40de-944b-e07fc1f90ae8 db 11", 0, "a name that another domain has too"},
		{"-d check @dom0 db 10", 0, "10-a.policy:4"},
		{"-d check Domain-0 db 10", 0, "10-a.policy:4"},
		{"-d explain 0 db 10", 0, "@tag:host"},
		{"-d check @backend db 10", 0, "10-a.policy:4"},
		{"-d check router db 9", 126, "denied"},
		{"-d check router db 9 --backend router", 0, "10-a.policy:3"},
		{"-d check @backend db 9 --backend router", 0, "10-a.policy:3"},
		{"-d check @dom0 db 9 --backend router", 126, "denied"},
		{"-d check web @backend 2 --backend router", 0, "without a rule"},
		{"-d check web @dom0 2 --backend router", 126, "denied"},
		{"-d check web db 7 --backend nobody", 1, "--backend: no such domain"},
		{"-d check web db 7 --backend twin", 126, "--backend: "},
		{"check web db 7 --backend router", 125, "--backend goes with --domains"},
	} {
		args := append(append([]string{"policy"}, strings.Fields(strings.TrimPrefix(c.question, "-d "))...), "--policy", dir)
		if strings.HasPrefix(c.question, "-d ") {
			args = append(args, "--domains", table)
		}
		r := run(t, args...)
		if r.code != c.code || !strings.Contains(r.stdout+r.stderr, c.said) {
			t.Errorf("%s ends with %d: %s%swant %d and %q", c.question, r.code, r.stdout, r.stderr, c.code, c.said)
		}
		if r.code != 0 {
			oneLine(t, r)
		}
	}
}
