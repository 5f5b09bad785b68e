package pid1_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
	pid1 "xvsock/init"
)

// told is a PID 1 that reads its settings.
type told struct {
	*pid1.Init
	machine  *machine
	out      *console
	root     string
	heard    []string // by the toolstack
	settings *pid1.Settings
	config   config.Config // the last that was handed on
	problems []string
}

func newTold(t *testing.T, files map[string]string) *told {
	t.Helper()
	d := &told{machine: &machine{}, out: &console{}, root: t.TempDir()}
	write(t, d.root, files)
	d.Init = pid1.New(pid1.Options{
		Kernel: d.machine.kernel(), Console: d.out, Root: d.root,
		Tell: func(kind pid1.TellKind, text string) {
			if kind == pid1.TellProblem {
				d.heard = append(d.heard, text)
			}
		},
	})
	d.settings = &pid1.Settings{
		Table: config.Settings([]config.Builtin{{Name: "discovery", Port: 2, Always: true, Fixed: true}, {Name: "echo", Port: 7}}),
		Level: &slog.LevelVar{},
		Use: func(c config.Config, problems []config.Problem) {
			d.config, d.problems = c, nil
			for _, p := range problems {
				d.problems = append(d.problems, p.String())
			}
		},
	}
	return d
}

// lines are the problems that the toolstack was told.
func (d *told) lines(t *testing.T) []string {
	t.Helper()
	if err := d.Told(t.Context()); err != nil {
		t.Error(err)
	}
	return d.heard
}

// nodes is what a toolstack wrote.
func nodes(values map[string][]string) func(context.Context) (map[string][]string, error) {
	return func(context.Context) (map[string][]string, error) { return values, nil }
}

func TestSettingsStepSaysProblemsAndGoesOn(t *testing.T) {
	d := newTold(t, map[string]string{
		"proc/cmdline":              "quiet xvsock.mod=backend xvsock.log=warn xvsock.name=svc1 xvsock.panic=halt\n",
		"sys/hypervisor/guest_type": "PV\n",
		"etc/xvsock.toml":           "mode = 'backend'\nlog = 'debug'\nname = 7.5\n",
	})
	step := d.SettingsStep(d.settings)
	if err := step.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`/etc/xvsock.toml:3: name="7.5": a value is a string, a whole number, a boolean, or an array of them`,
		`command line: xvsock.mod="backend": unknown key; did you mean xvsock.mode?`,
	}
	said := "xvsock: settings: " + strings.Join(want, "\nxvsock: settings: ") + "\n"
	if d.out.String() != said || !slices.Equal(d.lines(t), want) || !slices.Equal(d.problems, want) {
		t.Errorf("console %q, told %q, handed on %q; want %q", d.out, d.lines(t), d.problems, want)
	}
	if d.settings.Level.Level() != slog.LevelWarn || d.config.Name != "svc1" || d.config.Mode != config.Backend || d.machine.took()[0] != "hostname svc1" {
		t.Errorf("level %v, config %+v, machine %q", d.settings.Level.Level(), d.config, d.machine.took())
	}
	if err := os.Remove(d.root + "/proc/cmdline"); err != nil {
		t.Fatal(err)
	}
	if err := step.Run(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without /proc: %v; want fs.ErrNotExist", err)
	}
}

func TestAFileThatCannotBeReadIsAProblem(t *testing.T) {
	d := newTold(t, map[string]string{"proc/cmdline": "quiet\n", "etc/xvsock.toml/x": ""})
	if err := d.SettingsStep(d.settings).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(d.problems) != 1 || !strings.HasPrefix(d.problems[0], "/etc/xvsock.toml: read /etc/xvsock.toml: ") {
		t.Errorf("problems = %q", d.problems)
	}
}

func TestSettingsStepDoesNotFloodTheConsole(t *testing.T) {
	d := newTold(t, map[string]string{"proc/cmdline": strings.Repeat("xvsock.x ", 100)})
	if err := d.SettingsStep(d.settings).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := d.out.lines()
	if len(lines) != 21 || lines[20] != "xvsock: settings: and 80 more problems" || len(d.lines(t)) != 21 {
		t.Errorf("%d lines, the last %q; the toolstack was told %d", len(lines), lines[len(lines)-1], len(d.lines(t)))
	}
}

func TestTheToolstacksSettingsAreTheStrongest(t *testing.T) {
	d := newTold(t, map[string]string{
		"proc/cmdline":    "xvsock.mode=backend xvsock.log=debug xvsock.name=old xvsock.x",
		"etc/xvsock.toml": "service = 'echo'",
	})
	steps := []pid1.Step{d.SettingsStep(d.settings), d.ToolstackStep(d.settings, nodes(map[string][]string{
		"log": {"error"}, "name": {"new"}, "servise": {"echo"},
	}))}
	for _, step := range steps {
		if err := step.Run(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.Name, err)
		}
	}
	c := d.config
	if c.Mode != config.Backend || c.Log != slog.LevelError || c.Name != "new" || len(c.Services) != 2 {
		t.Errorf("config = %+v", c)
	}
	if d.settings.Level.Level() != slog.LevelError {
		t.Errorf("level = %v", d.settings.Level)
	}
	if diff := cmp.Diff([]string{"hostname old", "hostname new"}, d.machine.took()); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	// What was said before is not said again, but it is handed on again.
	want := []string{
		`command line: xvsock.x="": unknown key; known are xvsock.mode, xvsock.name, xvsock.service, xvsock.policy, ` +
			`xvsock.budget, xvsock.poll, xvsock.bridge, xvsock.bridge-deny, xvsock.door-mode, xvsock.door-group, xvsock.module, xvsock.log, xvsock.panic, xvsock.strict`,
		`xenstore: servise="echo": unknown key; did you mean service?`,
	}
	if diff := cmp.Diff(want, d.lines(t)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{want[1], want[0]}, d.problems); diff != "" {
		t.Errorf("handed on (-want +got):\n%s", diff)
	}
}

func TestTheHostNameIsSetOnce(t *testing.T) {
	d := newTold(t, map[string]string{"proc/cmdline": "xvsock.name=svc"})
	for _, step := range []pid1.Step{d.SettingsStep(d.settings), d.ToolstackStep(d.settings, nodes(map[string][]string{"name": {"svc"}}))} {
		if err := step.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"hostname svc"}, d.machine.took()); diff != "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
}

func TestWhatFatalDoesIsTheStrongestSources(t *testing.T) {
	for name, c := range map[string]struct {
		line  string
		nodes map[string][]string
		want  string
	}{
		"by default":          {"", nil, "restart"},
		"by the command line": {"xvsock.panic=halt", nil, "power off"},
		"by the toolstack":    {"xvsock.panic=reboot", map[string][]string{"panic": {"halt"}}, "power off"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTold(t, map[string]string{"proc/cmdline": c.line})
			for _, step := range []pid1.Step{d.SettingsStep(d.settings), d.ToolstackStep(d.settings, nodes(c.nodes))} {
				if err := step.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Test(t, func(t *testing.T) { d.Fatal(t.Context(), errors.New("broken")) })
			if took := d.machine.took(); took[len(took)-1] != c.want {
				t.Errorf("machine %q; want %s at the end", took, c.want)
			}
		})
	}
}

func TestWhatCannotBeReadFromXenstoreIsAProblem(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"there is nothing":   {fs.ErrNotExist, nil},
		"xenstore refuses":   {fs.ErrPermission, []string{"xenstore: permission denied"}},
		"there are too many": {errors.New("too many"), []string{"xenstore: too many"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTold(t, map[string]string{"proc/cmdline": ""})
			read := func(context.Context) (map[string][]string, error) {
				return map[string][]string{"mode": {"backend"}}, c.err
			}
			for _, step := range []pid1.Step{d.SettingsStep(d.settings), d.ToolstackStep(d.settings, read)} {
				if err := step.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(d.lines(t), c.want) || d.config.Mode != config.Backend {
				t.Errorf("told %q, mode %v; want %q, backend", d.lines(t), d.config.Mode, c.want)
			}
		})
	}
}

func TestAStrictDomainFailsWithTheFirstProblem(t *testing.T) {
	const slip = `command line: xvsock.mod="x": unknown key; did you mean xvsock.mode?`
	for name, c := range map[string]struct {
		line  string
		nodes map[string][]string
		want  string
	}{
		"nothing is wrong":                     {"xvsock.strict=1", nil, ""},
		"not strict":                           {"xvsock.mod=x", nil, ""},
		"by the command line":                  {"xvsock.mod=x xvsock.strict=1", nil, "strict: " + slip},
		"by the toolstack":                     {"xvsock.mod=x", map[string][]string{"strict": {"1"}}, "strict: " + slip},
		"the toolstack is stronger":            {"xvsock.mod=x xvsock.strict=1", map[string][]string{"strict": {"0"}}, ""},
		"the strongest source's problem first": {"xvsock.mod=x xvsock.strict=1", map[string][]string{"log": {"loud"}}, `strict: xenstore: log="loud": not one of debug, info, warn, error; the default is info`},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTold(t, map[string]string{"proc/cmdline": c.line})
			if err := d.SettingsStep(d.settings).Run(t.Context()); err != nil {
				t.Fatalf("the first step failed: %v", err)
			}
			got := ""
			if err := d.ToolstackStep(d.settings, nodes(c.nodes)).Run(t.Context()); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("ToolstackStep = %q; want %q", got, c.want)
			}
		})
	}
}
