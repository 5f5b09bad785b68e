package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xvsock/daemon"
	"xvsock/services/varlink"
)

// examples are the files that the documentation shows.
var examples = []string{"--policy", "../examples/policy", "--domains", "../examples/policy/domains.toml"}

// policyAnswer is the answer of a backend with a policy.
func policyAnswer(reply daemon.PolicyReply) varlink.Methods {
	return varlink.Methods{daemon.MethodPolicy: func(_ context.Context, call *varlink.Call) (any, error) { return reply.Answer(call) }}
}

// policyReply is what a backend could say of its policy, with domains whose names
// are meant to harm the terminal.
func policyReply() daemon.PolicyReply {
	return daemon.PolicyReply{
		Source: "/etc/xvsock/policy.d", Version: "0123456789ab",
		Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Error: "20-more.policy:3: bad action", RefusedSince: time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC),
		Unconfirmed: []uint16{4, 9},
		Rules: []daemon.PolicyRule{
			{File: "10-base.policy", Line: 3, Text: "echo,7000-7010  web-*\tdb  allow conns=64   rate=5"},
			{File: "10-base.policy", Line: 7, Text: "* twin * allow"},
			{File: "20-more.policy", Line: 1, Text: "* @tag:admin * allow log"},
			{File: "20-more.policy", Line: 2, Text: "* * * deny"},
		},
		Domains: []daemon.PolicyDomain{
			{Domain: 0, Name: "Domain-0", Backend: true},
			{Domain: 3, Name: "db", UUID: "7c9e6679-7425-40de-944b-e07fc1f90ae7"},
			{Domain: 4, Name: evil, Tags: []string{"admin"}},
			{Domain: 5, Name: "web-1"},
			{Domain: 6, Name: "twin"},
			{Domain: 7, Name: "twin", UUID: "0f7c6f1e-6f0a-4f0c-8a0e-1d6c2a7c9e07"},
		},
	}
}

func TestPolicyHelp(t *testing.T) {
	for _, command := range []string{"", "check", "explain", "lint", "test", "push", "show"} {
		r := run(t, strings.Fields("policy "+command+" --help")...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("policy %s --help ends with %d: %s", command, r.code, r.stderr)
		}
		golden(t, strings.TrimSuffix("help-policy-"+command, "-"), r.stdout)
	}
}

// The JSON shapes only ever grow.
func TestPolicyTablesAndJSON(t *testing.T) {
	control := daemonThat(t, policyAnswer(policyReply()))
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"show":            {[]string{"show"}, 0},
		"check":           {[]string{"check", "web-1", "db", "7000"}, 0},
		"check-denied":    {[]string{"check", "db", "web-1", "22"}, 126},
		"check-builtin":   {[]string{"check", "db", "@backend", "discovery"}, 0},
		"explain":         {[]string{"explain", "4", "uuid:7C9E6679-7425-40DE-944B-E07FC1F90AE7", "echo"}, 0},
		"explain-denied":  {[]string{"explain", "@backend", "db", "control"}, 0},
		"explain-twin":    {[]string{"explain", "7", "db", "echo"}, 0},
		"explain-builtin": {[]string{"explain", "db", "@dom0", "discovery"}, 0},
		"lint":            {[]string{"lint"}, 1},
	} {
		for _, output := range []string{"table", "json"} {
			r := run(t, append(append([]string{"policy"}, c.args...), "--control", control, "-o", output)...)
			if r.code != c.code || (r.code == 0) != (r.stderr == "") {
				t.Errorf("%v: %d, %s", c.args, r.code, r.stderr)
			}
			golden(t, "policy-"+name+"-"+output, r.stdout+r.stderr)
			if strings.ContainsAny(r.stdout+r.stderr, "\x1b\x07\u202e\u009b\U000e0041") {
				t.Errorf("%s prints another domain's text as it came", name)
			}
			if output == "json" && !json.Valid([]byte(r.stdout)) {
				t.Errorf("%s is no JSON", name)
			}
		}
	}
}

func TestAPolicyLargerThanAMessageIsToldWhole(t *testing.T) {
	reply := policyReply()
	reply.Rules = nil
	for i := range 4096 {
		reply.Rules = append(reply.Rules, daemon.PolicyRule{File: "10-base.policy", Line: i + 1, Text: fmt.Sprintf("%d %s db deny", i+2, strings.Repeat("a", 200))})
	}
	for i := range 1000 {
		reply.Domains = append(reply.Domains, daemon.PolicyDomain{Domain: uint16(100 + i), Name: strings.Repeat("<", 1000)})
	}
	r := run(t, "policy", "show", "-o", "json", "--control", daemonThat(t, policyAnswer(reply)))
	var shown daemon.PolicyReply
	if err := json.Unmarshal([]byte(r.stdout), &shown); err != nil || r.code != 0 {
		t.Fatalf("%d, %s, %v", r.code, r.stderr, err)
	}
	if len(shown.Rules) != 4096 || shown.Rules[4095] != reply.Rules[4095] || len(shown.Domains) != len(reply.Domains) ||
		shown.Version != reply.Version || len(shown.Unconfirmed) != 2 {
		t.Errorf("%d rules, %d domains, version %s", len(shown.Rules), len(shown.Domains), shown.Version)
	}
}

func TestABackendWithoutPolicySaysSo(t *testing.T) {
	control := daemonThat(t, policyAnswer(daemon.PolicyReply{Source: "/etc/xvsock/policy.d", Unconfirmed: []uint16{}}))
	r := run(t, "policy", "show", "--control", control)
	if r.code != 0 || !strings.Contains(r.stdout, "none was good yet") || !strings.Contains(r.stdout, "built-in  *") {
		t.Errorf("%+v", r)
	}
	r = run(t, "policy", "show", "--control", control, "-o", "json")
	if r.code != 0 || !strings.Contains(r.stdout, `"rules": [],`) || !strings.Contains(r.stdout, `"domains": [],`) {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsWrongWithAPolicyIsToldInOneLine(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/10-a.policy", []byte("\n7 web db perhaps\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for command, c := range map[string]struct {
		code int
		said string
	}{
		"check a b 7 --policy " + dir:                            {1, "xvsock: " + dir + "/10-a.policy:2: bad action"},
		"explain a b 7 --policy " + dir:                          {1, "xvsock: " + dir + "/10-a.policy:2: bad action"},
		"lint --policy " + dir:                                   {1, "xvsock: " + dir + "/10-a.policy:2: bad action"},
		"test none --policy " + dir:                              {1, "xvsock: " + dir + "/10-a.policy:2: bad action"},
		"push " + dir:                                            {1, "xvsock: " + dir + "/10-a.policy:2: bad action"},
		"push " + dir + "/none":                                  {1, "file does not exist"},
		"push " + empty:                                          {125, "there is no rule in any policy file of " + empty + ": everything would be denied; if that is meant, give --empty"},
		"push --empty " + empty:                                  {125, "no xenstore"},
		"push " + dir + "/10-a.policy":                           {125, dir + "/10-a.policy is no directory"},
		"lint --policy " + dir + "/10-a.policy":                  {125, dir + "/10-a.policy is no directory"},
		"explain a b 7 8":                                        {125, "explain takes SRC DST PORT, received 4 arguments"},
		"lint --policy " + dir + "/none":                         {1, "file does not exist"},
		"lint --policy " + empty + " --domains " + dir + "/none": {125, "no such file or directory"},
		"test " + dir + "/none --policy " + empty:                {1, "no such file or directory"},
		"check a b 7 --domains x":                                {125, "--domains goes with --policy"},
		"check a b 7 --control " + dir + "/none":                 {125, "no xvsock daemon answers"},
		"show --control " + dir + "/none":                        {125, "no xvsock daemon answers"},
		"check a b":                                              {125, "check takes SRC DST PORT, received 2 arguments"},
		"lint now":                                               {125, `lint takes no argument such as "now"`},
		"show -o xml":                                            {125, "use table or json"},
	} {
		r := run(t, append([]string{"policy"}, strings.Fields(command)...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.said) {
			t.Errorf("%s ends with %d: %swant %d and %q", command, r.code, r.stderr, c.code, c.said)
		}
		oneLine(t, r)
	}
}

func TestADaemonThatIsNoBackendHasNoPolicy(t *testing.T) {
	control := daemonThat(t, varlink.Methods{})
	for _, command := range []string{"show", "check a b 7", "lint"} {
		r := run(t, append(strings.Fields("policy "+command), "--control", control)...)
		if r.code != 125 || !strings.Contains(r.stderr, "the daemon of this domain is no backend") {
			t.Errorf("%s: %+v", command, r)
		}
		oneLine(t, r)
	}
}

func TestRulesThatADaemonMakesUpAreNotBelieved(t *testing.T) {
	for name, rules := range map[string][]daemon.PolicyRule{
		"no rule":               {{File: "a", Line: 1, Text: "once upon a time"}},
		"a line before another": {{File: "a", Line: 2, Text: aRule}, {File: "a", Line: 2, Text: aRule}},
		"no line":               {{File: "a", Line: 0, Text: aRule}},
		"an endless file":       {{File: "a", Line: 1 << 30, Text: aRule}},
	} {
		control := daemonThat(t, policyAnswer(daemon.PolicyReply{Rules: rules}))
		r := run(t, "policy", "lint", "--control", control)
		if r.code != 1 || !strings.Contains(r.stderr, "the backend's rules: ") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// aRule is a rule.
const aRule = "echo * db allow"

func TestLintNamesFilesThatAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"10-a.policy", "base.policy", "README"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(aRule+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, "policy", "lint", "--policy", dir)
	if r.code != 0 || r.stdout != "base.policy: ignored: a policy file is named as 10-name.policy\n" {
		t.Errorf("%+v", r)
	}
	if r = run(t, "policy", "lint", "--strict", "--policy", dir); r.code != 1 || !strings.Contains(r.stderr, "1 of the rules or files") {
		t.Errorf("%+v", r)
	}
}

func TestLintSaysThatEverythingIsDenied(t *testing.T) {
	const want = "there is no rule in any policy file: everything is denied\n"
	noFile, noRule := t.TempDir(), t.TempDir()
	if err := os.WriteFile(noRule+"/10-a.policy", []byte("# later\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	control := daemonThat(t, policyAnswer(daemon.PolicyReply{}))
	for name, where := range map[string][]string{
		"no file": {"--policy", noFile}, "no rule": {"--policy", noRule}, "a backend": {"--control", control},
	} {
		if r := run(t, append([]string{"policy", "lint"}, where...)...); r.code != 0 || r.stdout != want || r.stderr != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := run(t, "policy", "lint", "--strict", "--policy", noFile); r.code != 1 {
		t.Errorf("--strict: %+v", r)
	}
}

// What people copy is to do something.
func TestTheRulesInTheHelpAreGood(t *testing.T) {
	var rules []string
	for line := range strings.Lines(run(t, "policy", "--help").stdout) {
		if strings.HasPrefix(line, "  ") && strings.Contains(line, " allow") {
			rules = append(rules, line)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/10-help.policy", []byte(strings.Join(rules, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "policy", "lint", "--strict", "--policy", dir); r.code != 0 || r.stdout != "" {
		t.Errorf("%+v", r)
	}
	for _, rule := range rules {
		if f := strings.Fields(rule); f[2] == "@backend" && f[0] == "discovery" {
			t.Errorf("attaching allows it anyway: %s", rule)
		}
	}
	if len(rules) != 3 {
		t.Errorf("found %q", rules)
	}
}
