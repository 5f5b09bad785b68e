package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/cli"
	"xvsock/daemon"
	"xvsock/services/varlink"
	"xvsock/sim"
)

// What the last line of completion says besides values: the shell's own completion
// of files, none, or that of directories.
const (
	alsoFiles = ":0"
	noFiles   = ":4"
	onlyDirs  = ":16"
)

// completes checks what a command line can be completed to.
func completes(t *testing.T, p cli.Platform, line, want string) {
	t.Helper()
	args := append([]string{"__complete"}, strings.Split(line, " ")...)
	if r := runOn(t.Context(), p, args...); r.code != 0 || strings.Join(strings.Fields(r.stdout), " ") != want {
		t.Errorf("%q completes to %q with code %d, want %q", line, r.stdout, r.code, want)
	}
}

func TestArgumentsAreCompletedByWhatTheyAre(t *testing.T) {
	control := daemonThat(t, varlink.Methods{daemon.MethodStatus: answer(daemon.Status{Links: []daemon.Link{
		{Domain: 2, Name: "web"}, {Domain: 1, Name: "db-1"}, {Domain: 3}, {Domain: 4, Name: "web"},
		{Domain: 5, Name: "$(reboot)"}, {Domain: 6, Name: "a\tb"}, {Domain: 7, Name: "--control"}, {Domain: 8, Name: "two words"},
	}})})
	for line, want := range map[string]string{
		"ping ":                  "db-1 web " + noFiles,
		"ping w":                 "db-1 web " + noFiles, // the shell picks
		"ping web ":              noFiles,
		"services ":              "db-1 web " + noFiles,
		"resolve ":               noFiles,
		"resolve echo --domain ": "db-1 web " + noFiles,
		"policy check ":          "db-1 web " + noFiles,
		"policy explain db-1 ":   "db-1 web " + noFiles,
		"policy explain a b ":    noFiles,
		"policy test ":           alsoFiles,
		"policy push ":           onlyDirs,
		"version ":               noFiles,
		"services -o ":           "table json " + noFiles,
		"backend --log ":         "debug info warn error " + noFiles,
		"domain --service ":      "echo bench " + noFiles,
		"image build -o ":        alsoFiles,
		"attach --backend ":      "db-1 web " + noFiles,
	} {
		completes(t, nowhere(), "--control "+control+" "+line, want)
	}
}

func TestTheToolstacksDomainCompletesWhatRuns(t *testing.T) {
	h := sim.NewTest(t)
	h.Create(sim.DomainConfig{Name: "web"})
	none := "--control " + filepath.Join(t.TempDir(), "none")
	completes(t, xen(h.Domain(0)), none+" attach ", "Domain-0 web "+noFiles)
	completes(t, nowhere(), none+" attach ", noFiles)
}

func TestTheCompletionsAreScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := run(t, "completion", shell)
		if r.code != 0 || !strings.Contains(r.stdout, "xvsock") {
			t.Errorf("%s: code %d: %.80s", shell, r.code, r.stderr)
		}
		program, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		file := filepath.Join(t.TempDir(), shell)
		if err := os.WriteFile(file, []byte(r.stdout), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(program, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v\n%s", shell, err, out)
		}
	}
}

func TestTheTreeForPagesIsTheOneThatRuns(t *testing.T) {
	root := cli.Command("v1")
	for _, name := range []string{"backend", "domain", "attach", "image build"} {
		c, rest, err := root.Find(strings.Fields(name))
		if err != nil || len(rest) > 0 || c.Short == "" {
			t.Errorf("%s: %v, %v left", name, err, rest)
		}
	}
}
