package config_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
	"xvsock/manager"
)

func TestSettingsFromTheCommandLine(t *testing.T) {
	add := func(s config.Service) func(*config.Config) {
		return func(c *config.Config) { c.Services = append(c.Services, s) }
	}
	usual := config.Options{Max: 64, PerDomain: 16}
	for _, tt := range []struct {
		name, line string
		change     func(*config.Config)
	}{
		{"nothing", "", func(*config.Config) {}},
		{"nothing of ours", "console=hvc0 quiet panic=5\n", func(*config.Config) {}},
		{"a mode", "quiet xvsock.mode=backend", func(c *config.Config) { c.Mode = config.Backend }},
		{"rules in the image", "xvsock.policy=/etc/xvsock/policy.d", func(c *config.Config) { c.Policy = "/etc/xvsock/policy.d" }},
		{"a name", "xvsock.name=svc-1.example_x", func(c *config.Config) { c.Name = "svc-1.example_x" }},
		{"a level", "xvsock.log=debug", func(c *config.Config) { c.Log = slog.LevelDebug }},
		{"halt", "xvsock.panic=halt", func(c *config.Config) { c.Panic = config.Halt }},
		{"a shell", "xvsock.panic=shell", func(c *config.Config) { c.Panic = config.Shell }},
		{"strict", "xvsock.strict=1", func(c *config.Config) { c.Strict = true }},
		{"strict as a word", "xvsock.strict=true", func(c *config.Config) { c.Strict = true }},
		{"not strict", "xvsock.strict=false", func(*config.Config) {}},
		{"budgets add up", "xvsock.budget=links=16 xvsock.budget=half-open=1",
			func(c *config.Config) { c.Budgets = map[string]int{"links": 16, "half-open": 1} }},
		{"modules, each once", "xvsock.module=loop xvsock.module=dm_mod xvsock.module=loop",
			func(c *config.Config) { c.Modules = []string{"loop", "dm_mod"} }},
		{"a service on its well-known port", "xvsock.service=echo", add(config.Service{Name: "echo", Port: 7})},
		{"a service named twice", "xvsock.service=echo:7 xvsock.service=echo", add(config.Service{Name: "echo", Port: 7})},
		{"a service of a custom build on another port", "xvsock.service=clock:2000", add(config.Service{Name: "clock", Port: 2000})},
		{"what every domain runs may be named", "xvsock.service=discovery:2", func(*config.Config) {}},
		{"a program", "xvsock.service=kv:7000:exec:/kv",
			add(config.Service{Name: "kv", Port: 7000, Kind: config.Exec, Args: []string{"/kv"}, Options: usual})},
		{"a program with arguments", `xvsock.service="kv:7000:exec-once:/bin/kv -dir /data"`,
			add(config.Service{Name: "kv", Port: 7000, Kind: config.ExecOnce, Args: []string{"/bin/kv", "-dir", "/data"}, Options: usual})},
		{"a program with options", "xvsock.service=kv:7000:exec,max=8,uid=1000,gid=100:/kv",
			add(config.Service{Name: "kv", Port: 7000, Kind: config.Exec, Args: []string{"/kv"}, Options: config.Options{Max: 8, PerDomain: 8, UID: 1000, GID: 100}})},
		{"a colon in an argument", "xvsock.service=kv:7000:exec:/kv:a",
			add(config.Service{Name: "kv", Port: 7000, Kind: config.Exec, Args: []string{"/kv:a"}, Options: usual})},
		{"a unix socket", "xvsock.service=db:5432:forward,max=1024,per-domain=1024:unix:/run/db.sock",
			add(config.Service{Name: "db", Port: 5432, Kind: config.ForwardTo, Network: "unix", Address: "/run/db.sock", Options: config.Options{Max: 1024, PerDomain: 1024}})},
		{"a tcp socket", "xvsock.service=web:80:forward:tcp:127.0.0.1:8080",
			add(config.Service{Name: "web", Port: 80, Kind: config.ForwardTo, Network: "tcp", Address: "127.0.0.1:8080", Options: usual})},
		{"a tcp socket by IPv6", "xvsock.service=web:80:forward:tcp:[::1]:8080",
			add(config.Service{Name: "web", Port: 80, Kind: config.ForwardTo, Network: "tcp", Address: "[::1]:8080", Options: usual})},
		{"a shell on its well-known port", "xvsock.service=ssh:22:exec:/usr/sbin/sshd",
			add(config.Service{Name: "ssh", Port: 22, Kind: config.Exec, Args: []string{"/usr/sbin/sshd"}, Options: usual})},
		{"quotes around a value", `a="b c" xvsock.name="x" d`, func(c *config.Config) { c.Name = "x" }},
		{"quotes around a word", `"xvsock.name=x" d`, func(c *config.Config) { c.Name = "x" }},
		{"a key inside quotes is no key", `a="b xvsock.name=x"`, func(*config.Config) {}},
		{"after a lone --", "quiet -- xvsock.name=x", func(c *config.Config) { c.Name = "x" }},
		{"tabs and new lines part words", "a\txvsock.name=x\n", func(c *config.Config) { c.Name = "x" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := resolve(t, tt.line)
			want := defaults()
			tt.change(&want)
			if d := diff(want, got); d != "" || len(problems) > 0 {
				t.Errorf("problems %q, config (-want +got):\n%s", problems, d)
			}
		})
	}
}

func TestArgumentsAreSplitAtBlanks(t *testing.T) {
	for command, want := range map[string][]string{
		`/kv`:                  {"/kv"},
		` /kv  a	b `:           {"/kv", "a", "b"},
		`/kv "a b" c"d e"f ""`: {"/kv", "a b", "cd ef", ""},
		`"/my kv" 'a b' \"\"`:  {"/my kv", "'a", "b'", `\\`},
	} {
		c, problems := table().Resolve(setting("service", "kv:7000:exec:"+command))
		got := c.Services[len(c.Services)-1]
		if diff := cmp.Diff(want, got.Args); diff != "" || len(problems) > 0 {
			t.Errorf("%s: %q, (-want +got):\n%s", command, texts(problems), diff)
		}
		checkRoundTrip(t, got)
	}
}

func TestOneWrongSettingLeavesTheOthers(t *testing.T) {
	got, problems := resolve(t, "xvsock.mode=backend xvsock.log=loud xvsock.service=echo xvsock.service=nope xvsock.name=a xvsock.name=b")
	if got.Mode != config.Backend || len(got.Services) != len(defaults().Services)+1 || got.Name != "b" || got.Log != slog.LevelInfo {
		t.Errorf("config = %+v", got)
	}
	want := `command line: xvsock.name="b": given more than once; this one counts`
	if len(problems) != 3 || problems[2] != want {
		t.Errorf("problems = %q; want 3, the last %q", problems, want)
	}
}

func TestAStrongerSourceTakesAKeyWhole(t *testing.T) {
	c, problems := table().Resolve(
		config.Source{Name: "xenstore", Settings: []config.Setting{{Key: "service", Value: "a:100:exec:/a"}, {Key: "mode", Value: "none"}}},
		config.Source{Name: "command line", Prefix: "xvsock.", Settings: []config.Setting{
			{Key: "xvsock.service", Value: "echo"}, {Key: "xvsock.service", Value: "wrong"}, {Key: "xvsock.mode", Value: "backend"}}},
	)
	want := append(defaults().Services, config.Service{
		Name: "a", Port: 100, Kind: config.Exec, Args: []string{"/a"}, Options: config.Options{Max: 64, PerDomain: 16}})
	if diff := cmp.Diff(want, c.Services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	// The weaker source stands in for a value that cannot be used, and its own
	// mistakes are found under a key that it does not decide.
	if c.Mode != config.Backend || len(problems) != 2 || problems[0].Source != "xenstore" || problems[1].Value != "wrong" {
		t.Errorf("mode %v, problems %v", c.Mode, problems)
	}
	for key, want := range map[string]string{"service": "xenstore", "mode": "command line", "log": "default"} {
		if got := c.Origin(key); got != want {
			t.Errorf("Origin(%s) = %q; want %q", key, got, want)
		}
	}
}

func TestValuesShowEveryKeyAndItsOrigin(t *testing.T) {
	c, problems := table().Resolve(
		config.Source{Name: "flags", Prefix: "--", Settings: []config.Setting{
			{Key: "--budget", Value: "burst=7"}, {Key: "--budget", Value: "requests=5"}, {Key: "--strict", Value: "true"}}},
		config.Source{Name: "/etc/xvsock.toml", Settings: []config.Setting{
			{Key: "service", Value: `kv:7000:exec,max=2:/kv  "a b"`}, {Key: "budget", Value: "links=9"}, {Key: "module", Value: "loop"}}},
	)
	if len(problems) > 0 {
		t.Error(texts(problems))
	}
	want := []config.Value{
		{Key: "mode", Value: []string{"frontend"}, Origin: "default"},
		{Key: "name", Origin: "default"},
		{Key: "service", Origin: "/etc/xvsock.toml", Value: []string{
			"discovery:2", "health:3", "control:4", "metrics:5", "log:6", "zone:1001", `kv:7000:exec,max=2:/kv "a b"`}},
		{Key: "policy", Value: []string{"xenstore"}, Origin: "default"},
		{Key: "budget", Value: []string{"requests=5", "burst=7"}, Origin: "flags"},
		{Key: "poll", Value: []string{"on"}, Origin: "default"},
		{Key: "bridge", Value: []string{"on"}, Origin: "default"},
		{Key: "bridge-deny", Origin: "default"},
		{Key: "door-mode", Value: []string{"0660"}, Origin: "default"},
		{Key: "door-group", Value: []string{"xvsock"}, Origin: "default"},
		{Key: "module", Value: []string{"loop"}, Origin: "/etc/xvsock.toml"},
		{Key: "log", Value: []string{"info"}, Origin: "default"},
		{Key: "panic", Value: []string{"reboot"}, Origin: "default"},
		{Key: "strict", Value: []string{"1"}, Origin: "flags"},
	}
	if diff := cmp.Diff(want, c.Values()); diff != "" {
		t.Errorf("Values() (-want +got):\n%s", diff)
	}
	if got := (config.Config{}).Values(); len(got) != 0 {
		t.Errorf("Values() of nothing = %v", got)
	}
}

func TestTheTableIsComplete(t *testing.T) {
	for _, key := range table().Keys() {
		if strings.HasPrefix(key.Name, config.Prefix) || key.Form == "" || !strings.HasSuffix(key.Help, ".") || len(key.Example) == 0 {
			t.Errorf("row %+v lacks something", key)
		}
		values := key.Example
		if key.Default != "" {
			values = append(values, key.Default)
		}
		for _, v := range values {
			if _, problems := table().Resolve(setting(key.Name, v)); len(problems) > 0 {
				t.Errorf("the page shows %s=%s: %v", key.Name, v, problems)
			}
		}
	}
}

// The manager has the last word about a budget; the table says the same before.
func TestTheLimitsOfBudgetsAreTheManagers(t *testing.T) {
	for name, field := range map[string]func(*manager.Budgets) *int{
		"requests":      func(b *manager.Budgets) *int { return &b.Requests },
		"burst":         func(b *manager.Budgets) *int { return &b.Burst },
		"half-open":     func(b *manager.Budgets) *int { return &b.HalfOpen },
		"links":         func(b *manager.Budgets) *int { return &b.Links },
		"connections":   func(b *manager.Budgets) *int { return &b.Connections },
		"registrations": func(b *manager.Budgets) *int { return &b.Registrations },
	} {
		for n := 1; n < 1_000_000; n++ {
			var b manager.Budgets
			*field(&b) = n
			if b.Check() == nil {
				continue
			}
			if _, problems := table().Resolve(setting("budget", fmt.Sprintf("%s=%d", name, n-1))); len(problems) > 0 {
				t.Errorf("the manager takes %d: %v", n-1, problems)
			}
			if _, problems := table().Resolve(setting("budget", fmt.Sprintf("%s=%d", name, n))); len(problems) != 1 {
				t.Errorf("%s=%d is taken, but not by the manager", name, n)
			}
			break
		}
	}
}

func TestListsAreBounded(t *testing.T) {
	for key, value := range map[string]func(int) string{
		"service": func(i int) string { return fmt.Sprintf("s%d:%d:exec:/x", i, 5000+i) },
		"module":  func(i int) string { return fmt.Sprintf("m%d", i) },
	} {
		source := config.Source{Name: "test"}
		for i := range 100 {
			source.Settings = append(source.Settings, config.Setting{Key: key, Value: value(i)})
		}
		c, problems := table().Resolve(source)
		if len(c.Services) > 64 || len(c.Modules) > 32 || len(problems) == 0 || !strings.HasPrefix(problems[0].Reason, "more than ") {
			t.Errorf("%s: %d services, %d modules, problems %v", key, len(c.Services), len(c.Modules), texts(problems))
		}
	}
}
