package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/manager/policy"
)

// example is the one of the design.
const example = `# service|port  source        destination   action  parameters
discovery       *             @backend      allow
echo,7000-7010  web-*         db1           allow   conns=64
*               @tag:admin    *             allow
*               *             *             deny
`

func TestRulesAreRead(t *testing.T) {
	for _, c := range []struct {
		name, text string
		canonical  string
		params     policy.Params
	}{
		{"the fewest fields", "7 a b allow", "7 a b allow", policy.Params{}},
		{"blanks of all kinds around fields", "\t 7  a\tb \t allow ", "7 a b allow", policy.Params{}},
		{"a comment behind", "7 a b deny# not now", "7 a b deny", policy.Params{}},
		{"a name of a port", "echo a b allow", "7 a b allow", policy.Params{}},
		{"ports that touch, overlap and come in any order", "9-12,7,8,10-20,30", "", policy.Params{}},
		{"the lowest and the highest port", "2,4294967294 a b allow", "2,4294967294 a b allow", policy.Params{}},
		{"all ports by their numbers", "2-4294967294 a b allow", "* a b allow", policy.Params{}},
		{"a uuid in capitals", "7 uuid:ABCDEFAB-1111-4111-8111-ABCDEFABCDEF * allow", "7 uuid:abcdefab-1111-4111-8111-abcdefabcdef * allow", policy.Params{}},
		{"the words with @", "7 @tag:A.b_c-1 @dom0 allow", "7 @tag:A.b_c-1 @dom0 allow", policy.Params{}},
		{"a name beyond ASCII", "7 wäb-? * allow", "7 wäb-? * allow", policy.Params{}},
		{"all parameters, in another order", "7 a b allow log ring=65536 access=map rate=2 conns=1048576",
			"7 a b allow conns=1048576 rate=2 access=map ring=64K log",
			policy.Params{Conns: 1 << 20, Rate: 2, Access: policy.AccessMap, Ring: 65536, Log: true}},
		{"the default said", "7 a b allow access=copy", "7 a b allow", policy.Params{}},
		{"the smallest ring", "7 a b allow ring=4K", "7 a b allow ring=4K", policy.Params{Ring: 4096}},
		{"the largest ring", "7 a b allow ring=1024K", "7 a b allow ring=1M", policy.Params{Ring: 1 << 20}},
		{"a deny that is logged", "7 a b deny log", "7 a b deny log", policy.Params{Log: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, want := c.text, c.canonical
			if want == "" {
				text, want = text+" a b allow", "7-20,30 a b allow"
			}
			rules := parse(t, "# before\n\n"+text+"\n#after").Rules()
			if len(rules) != 1 {
				t.Fatalf("%d rules", len(rules))
			}
			r := rules[0]
			if r.String() != want || r.File != "p" || r.Line != 3 || r.Allow != strings.Contains(want, "allow") || r.ID == 0 {
				t.Errorf("%+v is %q; want %q", r, r, want)
			}
			if d := cmp.Diff(c.params, r.Params); d != "" {
				t.Error(d)
			}
			if r.Text != strings.TrimSpace(strings.Split(text, "#")[0]) {
				t.Errorf("Text = %q", r.Text)
			}
		})
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	for _, c := range []struct{ name, text, reason string }{
		{"too few fields", "7 a b", `"7 a b" has 3 of the 4 fields: ports source destination allow|deny`},
		{"another action", "7 a b permit", `bad action "permit": it is allow or deny`},
		{"an action in capitals", "7 a b ALLOW", "bad action"},
		{"port 0", "0 a b allow", `bad port "0"`},
		{"port 1", "1 a b allow", `bad port "1": port 1 is the manager's`},
		{"port 1 by name", "manager a b allow", `port 1 is the manager's`},
		{"port 1 in a range", "1-1023 a b allow", `bad port "1-1023": port 1 is the manager's`},
		{"the port that means any", "4294967295 a b allow", "bad port"},
		{"a port beyond 32 bits", "4294967298 a b allow", "bad port"},
		{"a leading zero", "07 a b allow", "bad port"},
		{"a sign", "+7 a b allow", "bad port"},
		{"no such service", "ecko a b allow", `bad port "ecko": use a number from 2`},
		{"a range that runs down", "9-8 a b allow", "turn it round"},
		{"a range of names", "echo-22 a b allow", "a range is two numbers"},
		{"a range without an end", "7- a b allow", "bad port"},
		{"a range of three", "7-8-9 a b allow", "bad port"},
		{"an empty item", "7,,8 a b allow", "an item of the list of ports is empty"},
		{"a comma at the end", "7, a b allow", "an item of the list of ports is empty"},
		{"a star among ports", "7,* a b allow", "it stands alone"},
		{"too many ports", strings.Repeat("7,", 64) + "7 a b allow", "lists 65 ports: at most 64"},
		{"a list of sources", "7 a,b c allow", `bad source "a,b": it is one pattern, not a list`},
		{"a list of destinations", "7 c @dom0,@backend allow", `bad destination "@dom0,@backend": it is one pattern, not a list`},
		{"an unknown word with @", "7 @admin b allow", `with @ there are @backend`},
		{"an empty tag", "7 @tag: b allow", "a tag is 1 to 32"},
		{"a long tag", "7 @tag:" + strings.Repeat("a", 33) + " b allow", "a tag is 1 to 32"},
		{"a tag with a wildcard", "7 @tag:a* b allow", "a tag is 1 to 32"},
		{"half a uuid", "7 uuid:11111111-aaaa b allow", "a uuid is written whole"},
		{"a uuid with a wildcard", "7 uuid:11111111-aaaa-4111-8111-abcdefabcde* b allow", "a uuid is written whole"},
		{"a uuid with dashes elsewhere", "7 uuid:1111111-1aaaa-4111-8111-abcdefabcdef b allow", "a uuid is written whole"},
		{"the uuid of nobody", "7 uuid:00000000-0000-0000-0000-000000000000 b allow", "write @dom0"},
		{"a uuid prefix in capitals", "7 UUID:11111111-aaaa-4111-8111-abcdefabcdef b allow", "only * and ? as wildcards"},
		{"a wildcard of another language", "7 web[12] b allow", "only * and ? as wildcards"},
		{"a negated pattern", "7 !web b deny", "only * and ? as wildcards"},
		{"more than one star", "7 ** b allow", "write * for every domain"},
		{"an unknown parameter", "7 a b allow conn=1", `bad parameter "conn=1": the parameters are`},
		{"a parameter without a value", "7 a b allow conns", "the parameters are"},
		{"log with a value", "7 a b allow log=yes", "the parameters are"},
		{"no connections", "7 a b allow conns=0", "use a number from 1"},
		{"too many connections", "7 a b allow conns=1048577", "use a number from 1"},
		{"a rate of nothing", "7 a b allow rate=", "use a number from 1"},
		{"a rate with a sign", "7 a b allow rate=-1", "use a number from 1"},
		{"a rate with a leading zero", "7 a b allow rate=01", "use a number from 1"},
		{"another access", "7 a b allow access=Map", "it is access=copy or access=map"},
		{"a ring under a page", "7 a b allow ring=2K", "use a power of two"},
		{"a ring over 1 MiB", "7 a b allow ring=2M", "use a power of two"},
		{"a ring that is no power of two", "7 a b allow ring=12K", "use a power of two"},
		{"a ring without digits", "7 a b allow ring=K", "use a power of two"},
		{"a ring in small letters", "7 a b allow ring=64k", "use a power of two"},
		{"a ring past 32 bits", "7 a b allow ring=4294971392", "use a power of two"},
		{"a parameter twice", "7 a b allow conns=1 conns=1", "it is there already"},
		{"log twice", "7 a b allow log log", "it is there already"},
		{"limits on a deny", "7 a b deny conns=1", "a deny takes log alone"},
		{"the default access on a deny", "7 a b deny access=copy", "a deny takes log alone"},
		{"DOS line ends", "7 a b allow\r", "Unix line ends"},
		{"a NUL", "7 a b allow # \x00", "U+0000 at byte 15"},
		{"an escape sequence in a comment", "# \x1b[2J", "U+001B"},
		{"a blank that is none", "7 a\u00a0b c allow", "U+00A0"},
		{"text that runs backwards", "7 a b deny # \u202e", "U+202E"},
		{"a byte order mark", "\ufeff7 a b allow", "U+FEFF"},
		{"other encodings", "7 w\xe4b b allow", "not UTF-8"},
		{"a long line", "#" + strings.Repeat("x", 1024), "1025 bytes in the line: at most 1024"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := policy.Parse([]policy.File{{Name: "good", Text: example}, {Name: "bad", Text: example + c.text + "\n\nworse"}})
			var e *policy.Error
			if s != nil || !errors.As(err, &e) || e.File != "bad" || e.Line != 6 || !strings.Contains(e.Reason, c.reason) {
				t.Fatalf("Parse = %v, %v; want bad:6 with %q", s, err, c.reason)
			}
			if want := "bad:6: " + e.Reason; err.Error() != want {
				t.Errorf("%q; want %q", err, want)
			}
		})
	}
}

func TestReasonsQuoteLittleAndNothingRaw(t *testing.T) {
	long := strings.Repeat("x", 900)
	for _, text := range []string{long, long + " a b allow", "7 @" + long + " b allow", "7 a b " + long, "7 a b allow " + long + "=1"} {
		if _, err := policy.Parse([]policy.File{{Name: "p", Text: text}}); err == nil || len(err.Error()) > 300 {
			t.Errorf("%v", err)
		}
	}
}

func TestBoundsOnWhatIsParsed(t *testing.T) {
	rules := func(n int) string { return strings.Repeat("7 a b allow\n", n) }
	files := func(n int) []policy.File { return make([]policy.File, n) }
	comment := "#" + strings.Repeat("x", 1023) + "\n" // 1025 bytes
	for _, c := range []struct {
		name  string
		files []policy.File
		want  string // "": parses
	}{
		{"nothing", nil, ""},
		{"the most rules, in two files", []policy.File{{Name: "a", Text: rules(4095)}, {Name: "b", Text: rules(1)}}, ""},
		{"one rule more", []policy.File{{Name: "a", Text: rules(4095)}, {Name: "b", Text: rules(2)}}, "b:2: more than 4096 rules"},
		{"the largest file", []policy.File{{Name: "a", Text: strings.Repeat(comment, 1023) + strings.Repeat("\n", 1)}}, ""},
		{"a larger file", []policy.File{{Name: "a", Text: strings.Repeat(comment, 1024)}}, "a: 1049600 bytes: at most 1048576"},
		{"the longest line", []policy.File{{Name: "a", Text: comment}}, ""},
		{"the most files", files(4096), ""},
		{"more files", files(4097), "policy: 4097 files: at most 4096"},
		{"the most ports", []policy.File{{Text: strings.Repeat("7,", 63) + "9 a b allow"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := policy.Parse(c.files)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

func TestIDsNameWhatRulesSay(t *testing.T) {
	ids := func(text string) (all []uint64) {
		for _, r := range parse(t, text).Rules() {
			all = append(all, r.ID)
		}
		return all
	}
	one := ids("7 a b allow")[0]
	moved := ids("9 x y deny\n\n  echo   a b   allow access=copy # the same")
	if moved[1] != one {
		t.Errorf("the same rule elsewhere is %x; want %x", moved[1], one)
	}
	equal := ids("7 a b allow\n7 a b allow\n7 a b allow")
	again := ids("7 a b allow\n8 a b allow\n7 a b allow")
	if equal[0] != one || equal[1] == one || equal[2] == one || equal[1] == equal[2] || again[2] != equal[1] {
		t.Errorf("equal rules are %x and %x", equal, again)
	}
	seen := map[uint64]string{one: "7 a b allow"}
	for _, other := range []string{"8 a b allow", "7 b a allow", "7 a b deny", "7 a b allow conns=1", "7 a b allow rate=1", "7 a b allow log",
		"7 a b allow ring=4K", "7 a b allow access=map"} {
		if was, taken := seen[ids(other)[0]]; taken {
			t.Errorf("%q and %q have the same id", other, was)
		}
		seen[ids(other)[0]] = other
	}
}

// FuzzParse checks that whatever parses says the same in its canonical form, and
// that the rest is refused with a place and a reason.
func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("7-9,8,22 uuid:11111111-AAAA-4111-8111-abcdefabcdef @dom0 allow rate=1 ring=1M access=map log")
	f.Add("* **\n7 a,b c deny conns=1")
	f.Add("\x00\xff\r\n\u202e")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := policy.Parse([]policy.File{{Name: "f", Text: text}})
		if err != nil {
			var e *policy.Error
			if s != nil || !errors.As(err, &e) || e.File != "f" || e.Reason == "" || e.Line > strings.Count(text, "\n")+1 ||
				e.Line == 0 && len(text) <= 1<<20 || strings.ContainsAny(e.Reason, "\x1b\x00\r\n") {
				t.Fatalf("%v, %#v", s, err)
			}
			return
		}
		var canonical strings.Builder
		for _, r := range s.Rules() {
			if len(r.String()) > len(r.Text) {
				t.Errorf("%q is longer than %q", r, r.Text)
			}
			fmt.Fprintln(&canonical, r)
		}
		if canonical.Len() > 1<<20 {
			return
		}
		again := parse(t, canonical.String())
		for i, r := range again.Rules() {
			was := s.Rules()[i]
			if r.String() != was.String() || r.ID != was.ID || r.Allow != was.Allow || r.Params != was.Params || r.Line != i+1 {
				t.Errorf("%+v; was %+v", r, was)
			}
		}
		for _, d := range []policy.Domain{dom0, web1, unnamed} {
			if !s.Table(d, web1).Equal(again.Table(d, web1)) {
				t.Errorf("the table of %v differs", d)
			}
		}
		policy.Lint(s, []policy.Domain{dom0, web1, unnamed})
	})
}
