// Package spin runs the model checker spin on the models of this repository, for
// their tests.
package spin

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Search is one search through the states of a model.
type Search struct {
	// Files are the model, in the directory of the test; the first one is run, and
	// includes the others.
	Files []string
	// Defines are names to define, separated by blanks.
	Defines string
	// Compile are flags of the C compiler, such as how to optimize and to store
	// states.
	Compile []string
	// Timeout is for the whole of it, on a machine busy with others.
	Timeout time.Duration
}

// Need skips the test where spin is missing, or fails it where it must not be.
func Need(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"spin", "cc"} {
		if _, err := exec.LookPath(tool); err != nil {
			text := fmt.Sprintf("no %s: install Debian's packages spin and gcc", tool)
			if os.Getenv("XVSOCK_RIG") == "1" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
}

// Run searches, and returns the number of errors found, with what the verifier
// said. It stops at the first. A search that was cut short is a failure of the
// test, whatever it found.
func (s Search) Run(t testing.TB) (errors, report string) {
	t.Helper()
	dir := t.TempDir()
	for _, file := range s.Files {
		// Read here, so that the test cache knows of a change.
		model, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), model, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
	defer cancel()
	generate := []string{"-a"}
	for name := range strings.FieldsSeq(s.Defines) {
		generate = append(generate, "-D"+name)
	}
	command(ctx, t, dir, "spin", append(generate, s.Files[0])...)
	// SAFETY leaves out the search for cycles, which no model asks for; MEMLIM is
	// in MB.
	flags := append([]string{"-w", "-DSAFETY", "-DMEMLIM=1500", "-o", "pan", "pan.c"}, s.Compile...)
	command(ctx, t, dir, "cc", flags...)
	report = command(ctx, t, dir, filepath.Join(dir, "pan"), "-m100000")
	found := regexp.MustCompile(`(?m)^State-vector .* errors: (\d+)$`).FindStringSubmatch(report)
	if found == nil || strings.Contains(report, "max search depth too small") || strings.Contains(report, "out of memory") {
		t.Fatalf("the search was not finished:\n%s", report)
	}
	return found[1], report
}

// command runs a program in dir, which must succeed, and returns what it said.
func command(ctx context.Context, t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out.String())
	}
	return out.String()
}
