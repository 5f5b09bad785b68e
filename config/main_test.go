package config_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"xvsock/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// builtin is what the binary has in it, and two services of a custom build.
func builtin() []config.Builtin {
	return append(standard(),
		config.Builtin{Name: "clock", Port: 1000},
		config.Builtin{Name: "zone", Port: 1001, Always: true},
	)
}

// standard is what every binary has in it.
func standard() []config.Builtin {
	return []config.Builtin{
		{Name: "discovery", Port: 2, Always: true, Fixed: true},
		{Name: "health", Port: 3, Always: true, Fixed: true},
		{Name: "control", Port: 4, Always: true, Fixed: true},
		{Name: "metrics", Port: 5, Always: true, Fixed: true},
		{Name: "log", Port: 6, Always: true, Fixed: true},
		{Name: "echo", Port: 7, Fixed: true},
		{Name: "bench", Port: 8, Fixed: true},
	}
}

func table() config.Table { return config.Settings(builtin()) }

func defaults() config.Config {
	return config.Config{
		Mode: config.Frontend, Policy: "xenstore", Log: slog.LevelInfo, Panic: config.Reboot,
		Poll: true, Bridge: true, DoorMode: 0o660, DoorGroup: "xvsock",
		Services: []config.Service{
			{Name: "discovery", Port: 2}, {Name: "health", Port: 3}, {Name: "control", Port: 4},
			{Name: "metrics", Port: 5}, {Name: "log", Port: 6}, {Name: "zone", Port: 1001},
		},
	}
}

// resolve reads one command line and returns the problems as text.
func resolve(t *testing.T, line string) (config.Config, []string) {
	t.Helper()
	source, problems, err := config.CommandLine(strings.NewReader(line), "PVH\n")
	if err != nil {
		t.Fatal(err)
	}
	c, more := table().Resolve(source)
	return c, texts(append(problems, more...))
}

func texts(problems []config.Problem) (lines []string) {
	for _, p := range problems {
		lines = append(lines, p.String())
	}
	return lines
}

// setting makes a source of one setting.
func setting(key, value string) config.Source {
	return config.Source{Name: "test", Settings: []config.Setting{{Key: key, Value: value}}}
}

// diff compares configurations but for where they came from.
func diff(want, got config.Config) string {
	return cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty())
}
