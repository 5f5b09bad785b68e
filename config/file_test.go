package config_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
)

// file resolves the text of a settings file.
func file(t *testing.T, text string) (config.Config, []string) {
	t.Helper()
	source, problems, err := config.Text("/etc/xvsock.toml", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c, more := table().Resolve(source)
	return c, texts(append(problems, more...))
}

func TestSettingsFromAFile(t *testing.T) {
	c, problems := file(t, `
# a service domain
mode = "backend"
name = 'keys'
service = [
	"echo",
	'kv:7000:exec:/bin/kv "a b"',
]
budget = "links=16"
module = ["loop", "dm_mod"]
log = "debug"
strict = true
`)
	want := defaults()
	want.Mode, want.Name, want.Log, want.Strict = config.Backend, "keys", slog.LevelDebug, true
	want.Budgets, want.Modules = map[string]int{"links": 16}, []string{"loop", "dm_mod"}
	want.Services = append(want.Services, config.Service{Name: "echo", Port: 7}, config.Service{
		Name: "kv", Port: 7000, Kind: config.Exec, Args: []string{"/bin/kv", "a b"}, Options: config.Options{Max: 64, PerDomain: 16}})
	if d := diff(want, c); d != "" || len(problems) > 0 {
		t.Errorf("problems %q, config (-want +got):\n%s", problems, d)
	}
	if got := c.Origin("mode"); got != "/etc/xvsock.toml" {
		t.Errorf("Origin(mode) = %q", got)
	}
}

func TestTheFilesOtherSpellings(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"a number for a switch", "strict = 1"},
		{"an array of one", "strict = [1]"},
		{"a quoted key", `"strict" = "1"`},
		{"ends of lines as on Windows", "strict = true\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if c, problems := file(t, tt.text); !c.Strict || len(problems) > 0 {
				t.Errorf("strict = %v, problems %q", c.Strict, problems)
			}
		})
	}
}

func TestWrongFiles(t *testing.T) {
	const kinds = "a value is a string, a whole number, a boolean, or an array of them"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"an unknown key", "mode = 'backend'\n\nmoed = 'x'", []string{`/etc/xvsock.toml:3: moed="x": unknown key; did you mean mode?`}},
		{"a key with the prefix of the command line", "\"xvsock.mode\" = 'backend'",
			[]string{`/etc/xvsock.toml:1: xvsock.mode="backend": unknown key; known are mode, name, service, policy, budget, poll, bridge, bridge-deny, door-mode, door-group, module, log, panic, strict`}},
		{"the prefix as a table", "[xvsock]\nmode = 'backend'", []string{`/etc/xvsock.toml:1: xvsock="{...}": ` + kinds}},
		{"the prefix of the command line", "xvsock.mode = 'backend'", []string{`/etc/xvsock.toml:1: xvsock="{...}": ` + kinds}},
		{"an array of tables", "mode='backend'\n[[service]]\nname = 'echo'", []string{`/etc/xvsock.toml:2: service="{...}": ` + kinds}},
		{"a fraction", "name = 1.5", []string{`/etc/xvsock.toml:1: name="1.5": ` + kinds}},
		{"a time", "name = 2026-01-01T00:00:00Z", []string{`/etc/xvsock.toml:1: name="2026-01-01 00:00:00 +0000 UTC": ` + kinds}},
		{"a fraction among good ones", "module = ['loop', 1.5]", []string{`/etc/xvsock.toml:1: module="1.5": ` + kinds}},
		{"an array in an array", "module = [['loop']]", []string{`/etc/xvsock.toml:1: module="[...]": ` + kinds}},
		{"a number where a word belongs", "\nlog = 5", []string{`/etc/xvsock.toml:2: log="5": not one of debug, info, warn, error; the default is info`}},
		{"a wrong service among good ones", "service = [\n'echo',\n'kv:1:exec:/kv']",
			[]string{`/etc/xvsock.toml:1: service="kv:1:exec:/kv": port 1 is reserved; use one from 1024 up`}},
		{"two values for a key of one", "name = ['a', 'b']", []string{`/etc/xvsock.toml:1: name="b": given more than once; this one counts`}},
		{"an escaped zero byte", `name = "a\u0000b"`, []string{`/etc/xvsock.toml:1: name="a\x00b": binary data: byte 0x00`}},
		{"no TOML", "mode = 'backend'\nname = \n", []string{
			`/etc/xvsock.toml:2: expected value but found '\n' instead; nothing of it is taken`}},
		{"a key twice", "mode = 'backend'\nmode = 'frontend'", []string{
			`/etc/xvsock.toml:2: Key 'mode' has already been defined.; nothing of it is taken`}},
		{"bytes that are no text", "name = 'a\xff'", []string{`/etc/xvsock.toml:1: invalid UTF-8 byte: 0xff; nothing of it is taken`}},
		{"a file that is too long", "# " + strings.Repeat("x", 32<<10), []string{`/etc/xvsock.toml: more than 32768 bytes; nothing of it is taken`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := file(t, tt.text)
			if diff := cmp.Diff(tt.want, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	if _, _, err := config.File(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("File() of none = %v; want fs.ErrNotExist", err)
	}
	if _, _, err := config.Text("x", iotest.ErrReader(fs.ErrPermission)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Text() = %v; want the reader's error", err)
	}
	path := filepath.Join(t.TempDir(), "xvsock.toml")
	if err := os.WriteFile(path, []byte("mode = 'backend'"), 0o600); err != nil {
		t.Fatal(err)
	}
	source, problems, err := config.File(path)
	if c, more := table().Resolve(source); err != nil || len(problems)+len(more) > 0 || c.Origin("mode") != path {
		t.Errorf("File() = %v, %v, %v", source, problems, err)
	}
}

// A parser that calls itself for each level must not run out of stack.
func TestAFileOfBrackets(t *testing.T) {
	for _, open := range []string{"[", "{a=", "[{a="} {
		if _, problems := file(t, "mode = "+strings.Repeat(open, 6000/len(open))); len(problems) != 1 {
			t.Errorf("%q: problems %q", open, problems)
		}
	}
}
