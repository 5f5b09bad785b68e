package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/bench"
	"xvsock/sim"
)

// measure runs bench with -o json and returns what it prints.
func measure(t *testing.T, args ...string) []bench.Result {
	t.Helper()
	r := run(t, append([]string{"bench", "-o", "json"}, args...)...)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%v: %+v", args, r)
	}
	var all []bench.Result
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// The measurements between two domains, from each side, by all ways that need no kernel.
func TestTwoDomainsAreMeasuredByACommand(t *testing.T) {
	h := sim.NewTest(t)
	dir := t.TempDir()
	dom0, web := h.Domain(0), h.Create(sim.DomainConfig{Name: "web"})
	back, front := filepath.Join(dir, "back", "control"), filepath.Join(dir, "front", "control")
	for _, path := range []string{back, front} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	rules := filepath.Join(dir, "policy.d")
	if err := os.Mkdir(rules, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rules, "10-test.policy"), []byte("bench,9 @backend web allow\nbench web @backend allow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	background(t, xen(dom0), "backend", "--control", back, "--policy", rules)
	background(t, xen(web), "domain", "--service", "bench", "--control", front)
	if r := runOn(t.Context(), xen(dom0), "attach", "web"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	until(t, nowhere(), "bench", "services", "--control", back)

	for _, via := range []string{"daemon", "door"} {
		all := measure(t, "web", "--control", back, "--via", via, "--count", "200", "--time", "20s")
		var cases []string
		for _, r := range all {
			cases = append(cases, string(r.Case))
			if r.Count < 200 || r.Rate <= 0 || r.First <= 0 || r.Per == "" || (via == "door") != (r.Via == via) {
				t.Errorf("%+v", r)
			}
		}
		if got := strings.Join(cases, ","); got != "rr,stream,many,connect" {
			t.Errorf("the cases are %s", got)
		}
	}
	if r := measure(t, "web:8", "--control", back, "--case", "stream", "--reverse", "--count", "100")[0]; r.Bytes < 100*16384 || r.MBs <= 0 || !r.Back {
		t.Errorf("%+v", r)
	}
	if r := run(t, "bench", "web", "--control", back, "--count", "20", "--case", "rr,connect"); r.code != 0 || !strings.Contains(r.stdout, "P99.9") || strings.Count(r.stdout, "\n") != 3 {
		t.Errorf("%+v", r)
	}

	for address, want := range map[string]struct {
		code int
		text string
	}{
		"web:9":    {1, "connection refused"},
		"web:10":   {126, "denied"},
		"self":     {1, "nobody serves port 8 there; start it with service=bench"},
		"nobody":   {1, "nobody"},
		"web:b":    {125, "use a number"},
		"web:0":    {125, "use a number"},
		"self:log": {1, "no bench service answers there"},
	} {
		r := run(t, "bench", address, "--control", back, "--case", "rr", "--count", "1")
		if r.code != want.code || !strings.Contains(r.stderr, want.text) {
			t.Errorf("%s: %+v, want %+v", address, r, want)
		}
		oneLine(t, r)
	}
	if r := run(t, "bench", "@backend", "--control", front, "--via", "door", "--case", "rr", "--count", "1"); r.code != 1 || !strings.Contains(r.stderr, "start it with service=bench") {
		t.Errorf("%+v", r)
	}
}
