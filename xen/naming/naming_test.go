package naming_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"xvsock/xen/naming"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"web", "web", true}, {"web", "Web", false}, {"web", "web1", false}, {"web", "we", false},
		{"*", "", true}, {"*", "x", true}, {"?", "", false}, {"?", "x", true}, {"?", "ü", true}, {"??", "ü", false},
		{"web-*", "web-", true}, {"web-*", "web-1", true}, {"web-*", "web", false},
		{"*-db", "a-db", true}, {"*-db", "a-db-db", true}, {"*-db", "a-dbx", false},
		{"a*b*c", "abbc", true}, {"a*b*c", "acb", false}, {"**", "x", true},
		{"[a]", "a", false}, {"[a]", "[a]", true}, {`\*`, "*", false}, {".", "x", false},
	} {
		if got := naming.Match(c.pattern, c.name); got != c.want {
			t.Errorf("naming.Match(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestMatchIsWhatARegularExpressionSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?ü")), 0, 12, -1).Draw(t, "pattern")
		name := rapid.StringOfN(rapid.RuneFrom([]rune("abü")), 0, 12, -1).Draw(t, "name")
		re := regexp.QuoteMeta(pattern)
		re = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(re)
		if want := regexp.MustCompile("^(" + re + ")$").MatchString(name); naming.Match(pattern, name) != want {
			t.Fatalf("naming.Match(%q, %q) = %v", pattern, name, !want)
		}
	})
}

func TestUUIDsAndTagsHaveOneForm(t *testing.T) {
	const uuid = "7c9e6679-7425-40de-944b-E07FC1F90AE7"
	for text, want := range map[string]bool{
		uuid: true, strings.ToLower(uuid): true, uuid[1:]: false, uuid + "0": false, strings.ReplaceAll(uuid, "-", "0"): false,
		"7c9e66797-425-40de-944b-e07fc1f90ae7": false, "7c9e6679-7425-40de-944b-e07fc1f90aeg": false, "": false,
	} {
		if got := naming.IsUUID(text); got != want {
			t.Errorf("IsUUID(%q) = %v", text, got)
		}
	}
	for text, want := range map[string]bool{
		"a": true, "A-Z_0.9": true, strings.Repeat("z", naming.MaxTag): true, strings.Repeat("z", naming.MaxTag+1): false,
		"": false, "a b": false, "a,b": false, "@a": false, "ü": false, "a\x00": false,
	} {
		if got := naming.IsTag(text); got != want {
			t.Errorf("IsTag(%q) = %v", text, got)
		}
	}
}
