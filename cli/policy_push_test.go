package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"xvsock/manager/policy"
	"xvsock/manager/policy/source"
	"xvsock/sim"
	"xvsock/toolstack"
)

func TestPushWritesWhatABackendReads(t *testing.T) {
	h := sim.NewTest(t)
	back := h.Create(sim.DomainConfig{Name: "router"})
	h.Create(sim.DomainConfig{Name: "web"})
	tools := h.Toolstack()
	t.Cleanup(func() { tools.Close() })
	push := func(args ...string) result {
		return runOn(t.Context(), xen(h.Domain(0)), append([]string{"policy", "push", "../examples/policy"}, args...)...)
	}
	if r := push(); r.code != 125 || !strings.Contains(r.stderr, "0 domains have frontends attached: say --backend") {
		t.Errorf("%+v", r)
	}
	if r := push("--backend", "nobody"); r.code != 1 || !strings.Contains(r.stderr, "--backend: no such domain") {
		t.Errorf("%+v", r)
	}
	if r := runOn(t.Context(), xen(h.Domain(0)), "attach", "web", "--backend", "router"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	r := push()
	rules, _, err := toolstack.ReadPolicy(t.Context(), tools, back.ID())
	if err != nil || r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := fmt.Sprintf("pushed %d rules to backend router (1), version %s\n", len(rules), source.StoreVersion(rules)); r.stdout != want {
		t.Errorf("push says %q, want %q", r.stdout, want)
	}
	loaded, err := source.LoadDir("../examples/policy")
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := policy.Parse([]policy.File{{Text: strings.Join(rules, "\n")}})
	if err != nil || len(pushed.Rules()) != len(loaded.Set.Rules()) {
		t.Fatalf("pushed %q, %v", rules, err)
	}
	for i, r := range loaded.Set.Rules() {
		if pushed.Rules()[i].ID != r.ID {
			t.Errorf("rule %d is %q, want %q", i, pushed.Rules()[i].Text, r.Text)
		}
	}
	// Which backend is not guessed.
	if r := runOn(t.Context(), xen(h.Domain(0)), "attach", "router"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if r := push(); r.code != 125 || !strings.Contains(r.stderr, "2 domains have frontends attached: say --backend") {
		t.Errorf("%+v", r)
	}
	// Where it may do nothing that is said.
	r = push("--backend", "0")
	if want := "xvsock: a backend in domain 0 reads a directory, unless it was started with --policy xenstore\n"; r.code != 0 || r.stderr != want {
		t.Errorf("%+v", r)
	}
}

func TestAnEmptyPolicyIsPushedOnlyIfItIsMeant(t *testing.T) {
	h := sim.NewTest(t)
	h.Create(sim.DomainConfig{Name: "router"})
	push := func(args ...string) result {
		return runOn(t.Context(), xen(h.Domain(0)), append([]string{"policy", "push", "--backend", "router"}, args...)...)
	}
	if r := push("../examples/policy"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	before := nodeOf(t, h, toolstack.PolicyVersionPath(1))
	dir := t.TempDir()
	if r := push(dir); r.code != 125 || nodeOf(t, h, toolstack.PolicyVersionPath(1)) != before {
		t.Errorf("%+v", r)
	}
	if r := push(dir, "--empty"); r.code != 0 || !strings.HasPrefix(nodeOf(t, h, toolstack.PolicyVersionPath(1)), "0 ") {
		t.Errorf("%+v", r)
	}
}
