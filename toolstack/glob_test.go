package toolstack

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGlob(t *testing.T) {
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
		if got := matchGlob(c.pattern, c.name); got != c.want {
			t.Errorf("matchGlob(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func TestGlobIsWhatARegularExpressionSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.RuneFrom([]rune("ab*?ü")), 0, 12, -1).Draw(t, "pattern")
		name := rapid.StringOfN(rapid.RuneFrom([]rune("abü")), 0, 12, -1).Draw(t, "name")
		re := regexp.QuoteMeta(pattern)
		re = strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(re)
		if want := regexp.MustCompile("^(" + re + ")$").MatchString(name); matchGlob(pattern, name) != want {
			t.Fatalf("matchGlob(%q, %q) = %v", pattern, name, !want)
		}
	})
}
