package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The examples stay true.
func TestTheExamplePolicyDoesWhatItsExpectationsSay(t *testing.T) {
	r := run(t, append([]string{"policy", "test", "../examples/policy/expectations.test"}, examples...)...)
	if r.code != 0 || !strings.HasSuffix(r.stdout, " expectations hold\n") || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	r = run(t, append([]string{"policy", "lint", "--strict"}, examples...)...)
	if r.code != 0 || r.stdout != "" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	r = run(t, append([]string{"policy", "explain", "web-next", "db1", "7000"}, examples...)...)
	golden(t, "policy-example", r.stdout)
}

// Every expectation that is turned round fails: each of them tests something.
func TestExpectationsThatDoNotHoldAreTold(t *testing.T) {
	text, err := os.ReadFile("../examples/policy/expectations.test")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "turned.test")
	turned := strings.NewReplacer("\nallow ", "\ndeny  ", "\ndeny ", "\nallow ").Replace(string(text))
	if err := os.WriteFile(file, []byte(turned), 0o644); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	asked := 0
	for i, line := range strings.Split(turned, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			fmt.Fprintf(&want, "%s:%d: %s: \n", file, i+1, strings.Join(strings.Fields(line), " "))
			asked++
		}
	}
	r := run(t, append([]string{"policy", "test", file}, examples...)...)
	if r.code != 1 || r.stderr != fmt.Sprintf("xvsock: %d of %d expectations do not hold\n", asked, asked) {
		t.Errorf("%+v", r)
	}
	told := strings.Split(strings.TrimSpace(r.stdout), "\n")
	for i, prefix := range strings.Split(strings.TrimSpace(want.String()), "\n") {
		if i >= len(told) || !strings.HasPrefix(told[i], strings.TrimSpace(prefix)) {
			t.Fatalf("line %d is not told: %s\n%s", i, prefix, r.stdout)
		}
	}
}

func TestALineThatIsNoExpectationDoesNotHold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.test")
	text := "# head\nallow web-1 db1 7000 # holds\n\npermit web-1 db1 7000\nallow web-1 db1\nallow web-1 db1 7000 7001\nallow nobody db1 7000\ndeny web-1 db1 0\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, append([]string{"policy", "test", file}, examples...)...)
	if r.code != 1 || r.stderr != "xvsock: 5 of 6 expectations do not hold\n" {
		t.Errorf("%+v", r)
	}
	golden(t, "policy-test-bad", strings.ReplaceAll(r.stdout, file, "bad.test"))
}
