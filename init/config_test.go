package pid1_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	pid1 "xvsock/init"
)

func table() pid1.Table {
	return pid1.Settings([]pid1.Builtin{{Name: "discovery", Port: 2, Always: true, Fixed: true}, {Name: "echo", Port: 7}})
}

func defaults() pid1.Config {
	return pid1.Config{
		Mode: pid1.Frontend, Policy: "xenstore", Log: slog.LevelInfo, Panic: pid1.Reboot,
		Services: []pid1.Service{{Name: "discovery", Port: 2}},
	}
}

// resolve reads one command line and returns the problems as text.
func resolve(t *testing.T, line string) (pid1.Config, []string) {
	t.Helper()
	source, problems, err := pid1.CommandLine(strings.NewReader(line), "PVH\n")
	if err != nil {
		t.Fatal(err)
	}
	config, more := table().Resolve(source)
	var lines []string
	for _, p := range append(problems, more...) {
		lines = append(lines, p.String())
	}
	return config, lines
}

func TestSettingsFromTheCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		change     func(*pid1.Config)
	}{
		{"nothing", "", func(*pid1.Config) {}},
		{"nothing of ours", "console=hvc0 quiet panic=5\n", func(*pid1.Config) {}},
		{"a mode", "quiet xvsock.mode=backend", func(c *pid1.Config) { c.Mode = pid1.Backend }},
		{"rules in the image", "xvsock.policy=/etc/xvsock/policy.d", func(c *pid1.Config) { c.Policy = "/etc/xvsock/policy.d" }},
		{"a name", "xvsock.name=svc-1.example_x", func(c *pid1.Config) { c.Name = "svc-1.example_x" }},
		{"a level", "xvsock.log=debug", func(c *pid1.Config) { c.Log = slog.LevelDebug }},
		{"halt", "xvsock.panic=halt", func(c *pid1.Config) { c.Panic = pid1.PowerOff }},
		{"a service on its well-known port", "xvsock.service=echo",
			func(c *pid1.Config) { c.Services = append(c.Services, pid1.Service{Name: "echo", Port: 7}) }},
		{"services add up", "xvsock.service=echo:7 xvsock.service=echo:7000",
			func(c *pid1.Config) {
				c.Services = append(c.Services, pid1.Service{Name: "echo", Port: 7}, pid1.Service{Name: "echo", Port: 7000})
			}},
		{"what every domain runs may be named", "xvsock.service=discovery:2", func(*pid1.Config) {}},
		{"quotes around a value", `a="b c" xvsock.name="x" d`, func(c *pid1.Config) { c.Name = "x" }},
		{"quotes around a word", `"xvsock.name=x" d`, func(c *pid1.Config) { c.Name = "x" }},
		{"a key inside quotes is no key", `a="b xvsock.name=x"`, func(*pid1.Config) {}},
		{"after a lone --", "quiet -- xvsock.name=x", func(c *pid1.Config) { c.Name = "x" }},
		{"tabs and new lines part words", "a\txvsock.name=x\n", func(c *pid1.Config) { c.Name = "x" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := resolve(t, tt.line)
			want := defaults()
			tt.change(&want)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(pid1.Config{})); diff != "" || len(problems) > 0 {
				t.Errorf("problems %q, config (-want +got):\n%s", problems, diff)
			}
		})
	}
}

func TestWrongSettingsAreSaidAndLeftOut(t *testing.T) {
	const known = "known are xvsock.mode, xvsock.name, xvsock.service, xvsock.policy, xvsock.log, xvsock.panic"
	label := "a label is 1 to 63 letters, digits, dots, hyphens or underscores, the first a letter or digit; the domain has no label"
	for _, tt := range []struct{ name, line, want string }{
		{"a slip in a key", "xvsock.mod=backend", `xvsock.mod="backend": unknown key; did you mean xvsock.mode?`},
		{"capitals in a key", "XVSOCK.Mode=backend", `XVSOCK.Mode="backend": unknown key; did you mean xvsock.mode?`},
		{"a key like no other", "xvsock.frobnicate=1", `xvsock.frobnicate="1": unknown key; ` + known},
		{"no key at all", "xvsock.=1", `xvsock.="1": unknown key; ` + known},
		{"a slip in a word", "xvsock.mode=Backend", `xvsock.mode="Backend": not one of frontend, backend; did you mean backend?`},
		{"another word", "xvsock.log=loud", `xvsock.log="loud": not one of debug, info, warn, error; the default is info`},
		{"no value", "xvsock.panic", `xvsock.panic="": not one of reboot, halt; the default is reboot`},
		{"a policy by a relative path", "xvsock.policy=rules", `xvsock.policy="rules": neither xenstore nor the path of a directory; the default is xenstore`},
		{"a lone quote", `xvsock.name="`, `xvsock.name="": ` + label},
		{"a label that is too long", "xvsock.name=" + strings.Repeat("x", 64), `xvsock.name="` + strings.Repeat("x", 64) + `": ` + label},
		{"a label with an escape", "xvsock.name=a\x1b[2J", `xvsock.name="a\x1b[2J": ` + label},
		{"a label that hides a name", "xvsock.name=../x", `xvsock.name="../x": ` + label},
		{"a service that is not there", "xvsock.service=ecco:7", `xvsock.service="ecco:7": no service "ecco" is built in; did you mean echo?`},
		{"a program as a service", "xvsock.service=db:7000:exec:/db",
			`xvsock.service="db:7000:exec:/db": no service "db" is built in; built in are discovery, echo`},
		{"a port that is no number", "xvsock.service=echo:seven", `xvsock.service="echo:seven": port "seven" is not a number; its well-known port is 7`},
		{"a port with more after it", "xvsock.service=echo:7:exec", `xvsock.service="echo:7:exec": port "7:exec" is not a number; its well-known port is 7`},
		{"a port with a sign", "xvsock.service=echo:+7", `xvsock.service="echo:+7": port "+7" is not a number; its well-known port is 7`},
		{"no port after the colon", "xvsock.service=echo:", `xvsock.service="echo:": port "" is not a number; its well-known port is 7`},
		{"port 0", "xvsock.service=echo:0", `xvsock.service="echo:0": port 0 is reserved; its well-known port is 7`},
		{"the manager's port", "xvsock.service=echo:1", `xvsock.service="echo:1": port 1 is reserved; its well-known port is 7`},
		{"a port for outgoing connections", "xvsock.service=echo:3221225472",
			`xvsock.service="echo:3221225472": port 3221225472 is kept for outgoing connections, as all from 3221225472 up; its well-known port is 7`},
		{"a port above all", "xvsock.service=echo:4294967296", `xvsock.service="echo:4294967296": port "4294967296" is out of range; its well-known port is 7`},
		{"a port taken", "xvsock.service=echo:2", `xvsock.service="echo:2": port 2 is taken by discovery; give it another port`},
		{"a name that stands for its port", "xvsock.service=discovery:9", `xvsock.service="discovery:9": discovery cannot be on port 9; its well-known port is 2`},
		{"no service", "xvsock.service=", `xvsock.service="": no service "" is built in; built in are discovery, echo`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := resolve(t, "quiet "+tt.line)
			if diff := cmp.Diff(defaults(), got, cmpopts.IgnoreUnexported(pid1.Config{})); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"command line: " + tt.want}, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOneWrongSettingLeavesTheOthers(t *testing.T) {
	got, problems := resolve(t, "xvsock.mode=backend xvsock.log=loud xvsock.service=echo xvsock.service=nope xvsock.name=a xvsock.name=b")
	if got.Mode != pid1.Backend || len(got.Services) != 2 || got.Name != "b" || got.Log != slog.LevelInfo {
		t.Errorf("config = %+v", got)
	}
	want := `command line: xvsock.name="b": given more than once; this one counts`
	if len(problems) != 3 || problems[2] != want {
		t.Errorf("problems = %q; want 3, the last %q", problems, want)
	}
}

func TestServicesAreBounded(t *testing.T) {
	var line strings.Builder
	for i := range 100 {
		fmt.Fprintf(&line, "xvsock.service=echo:%d ", 5000+i)
	}
	got, problems := resolve(t, line.String()[:2046])
	if len(got.Services) > 64 || len(problems) == 0 || !strings.Contains(problems[0], "more than 64 services") {
		t.Errorf("%d services, problems %q", len(got.Services), problems)
	}
}

func TestAStrongerSourceTakesAKeyWhole(t *testing.T) {
	config, problems := table().Resolve(
		pid1.Source{Name: "xenstore", Settings: []pid1.Setting{{Key: "xvsock.service", Value: "echo:100"}, {Key: "xvsock.mode", Value: "none"}}},
		pid1.Source{Name: "command line", Settings: []pid1.Setting{
			{Key: "xvsock.service", Value: "echo:200"}, {Key: "xvsock.service", Value: "wrong"}, {Key: "xvsock.mode", Value: "backend"}}},
	)
	want := []pid1.Service{{Name: "discovery", Port: 2}, {Name: "echo", Port: 100}}
	if diff := cmp.Diff(want, config.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	// The weaker source stands in for a value that cannot be used, and its own
	// mistakes are found under a key that it does not decide.
	if config.Mode != pid1.Backend || len(problems) != 2 || problems[0].Source != "xenstore" || problems[1].Value != "wrong" {
		t.Errorf("mode %v, problems %v", config.Mode, problems)
	}
	for key, want := range map[string]string{"xvsock.service": "xenstore", "xvsock.mode": "command line", "xvsock.log": "default"} {
		if got := config.Origin(key); got != want {
			t.Errorf("Origin(%s) = %q; want %q", key, got, want)
		}
	}
}

func TestTheTableIsComplete(t *testing.T) {
	for _, key := range table().Keys() {
		if !strings.HasPrefix(key.Name, pid1.Prefix) || key.Form == "" || !strings.HasSuffix(key.Help, ".") {
			t.Errorf("row %+v lacks something", key)
		}
		if key.Default == "" {
			continue
		}
		if _, problems := table().Resolve(pid1.Source{Name: "test", Settings: []pid1.Setting{{Key: key.Name, Value: key.Default}}}); len(problems) > 0 {
			t.Errorf("the default of %s is wrong: %v", key.Name, problems)
		}
	}
}

func TestALongCommandLineWasPossiblyCut(t *testing.T) {
	for _, tt := range []struct {
		guest string
		size  int
		want  string
	}{
		{"PV\n", 1022, ""},
		{"PV\n", 1023, "command line: it is 1023 bytes long and was possibly cut; keep it below 1023 bytes"},
		{"PVH\n", 1023, ""},
		{"PVH\n", 2047, "command line: it is 2047 bytes long and was possibly cut; keep it below 2047 bytes"},
		{"", 4096, "command line: it is 4096 bytes long and was possibly cut; keep it below 2047 bytes"},
	} {
		t.Run(fmt.Sprintf("%d bytes on %.3q", tt.size, tt.guest), func(t *testing.T) {
			_, problems, err := pid1.CommandLine(strings.NewReader(strings.Repeat("x", tt.size)+"\n"), tt.guest)
			got := ""
			for _, p := range problems {
				got += p.String()
			}
			if err != nil || got != tt.want {
				t.Errorf("CommandLine() = %q, %v; want %q", got, err, tt.want)
			}
		})
	}
	if _, _, err := pid1.CommandLine(iotest.ErrReader(errors.New("broken")), "PV"); err == nil {
		t.Error("CommandLine() hid the reader's error")
	}
}

func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{
		"", `"`, `=`, `xvsock.name="`, `"xvsock.name=a b"`, "xvsock.service=echo:7 xvsock.service=:", "xvsock.mode=\xff\x00",
		"console=hvc0 -- xvsock.log=debug", strings.Repeat("xvsock.", 600),
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		source, problems, err := pid1.CommandLine(strings.NewReader(line), "PV")
		if err != nil {
			t.Fatal(err)
		}
		config, more := table().Resolve(source)
		for _, p := range append(problems, more...) {
			if s := p.String(); len(s) > 1000 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("a problem is not one short printable line: %q", s)
			}
		}
		ports := map[uint32]bool{}
		for _, s := range config.Services {
			if ports[s.Port] || s.Port < 2 || s.Port >= 0xC0000000 {
				t.Errorf("service %v", s)
			}
			ports[s.Port] = true
		}
		if len(config.Name) > 63 {
			t.Errorf("name %q", config.Name)
		}
	})
}

func TestSettingsStepSaysProblemsAndGoesOn(t *testing.T) {
	m, out, root := &machine{}, &console{}, t.TempDir()
	write(t, root, map[string]string{
		"proc/cmdline":              "quiet xvsock.mod=backend xvsock.log=warn xvsock.name=svc1 xvsock.panic=halt\n",
		"sys/hypervisor/guest_type": "PV\n",
	})
	in := pid1.New(pid1.Options{Kernel: m.kernel(), Console: out, Root: root})
	level, used := &slog.LevelVar{}, pid1.Config{}
	step := in.SettingsStep(table(), level, func(c pid1.Config) { used = c })
	if err := step.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `xvsock: settings: command line: xvsock.mod="backend": unknown key; did you mean xvsock.mode?` + "\n"
	if out.String() != want || level.Level() != slog.LevelWarn || used.Name != "svc1" || m.took()[0] != "hostname svc1" {
		t.Errorf("console %q, level %v, config %+v, machine %q", out, level, used, m.took())
	}
	if err := os.Remove(root + "/proc/cmdline"); err != nil {
		t.Fatal(err)
	}
	if err := step.Run(context.Background()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without /proc: %v; want os.ErrNotExist", err)
	}
}

func TestSettingsStepDoesNotFloodTheConsole(t *testing.T) {
	out, root := &console{}, t.TempDir()
	write(t, root, map[string]string{"proc/cmdline": strings.Repeat("xvsock.x ", 100)})
	in := pid1.New(pid1.Options{Kernel: (&machine{}).kernel(), Console: out, Root: root})
	if err := in.SettingsStep(table(), &slog.LevelVar{}, func(pid1.Config) {}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lines := out.lines(); len(lines) != 21 || lines[20] != "xvsock: settings: and 80 more problems" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestMemoryStepReadsTheDomainsMemory(t *testing.T) {
	root := t.TempDir()
	in := pid1.New(pid1.Options{Kernel: (&machine{}).kernel(), Console: &console{}, Root: root})
	if err := in.MemoryStep().Run(t.Context()); !errors.Is(err, os.ErrNotExist) || !in.MemoryStep().Optional {
		t.Errorf("without /proc: %v; want os.ErrNotExist, and the boot to go on", err)
	}
	t.Setenv("GOMEMLIMIT", "off") // so that the test's own runtime stays as it is
	t.Setenv("GOGC", "100")
	write(t, root, map[string]string{"proc/meminfo": "MemTotal: 97280 kB\n"})
	if err := in.MemoryStep().Run(t.Context()); err != nil {
		t.Error(err)
	}
}
