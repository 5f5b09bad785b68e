package config_test

import (
	"reflect"
	"strings"
	"testing"

	"xvsock/config"
	"xvsock/services"
)

// checkResult holds what is true of every result, whatever the sources held.
func checkResult(t *testing.T, c config.Config, problems []config.Problem) {
	t.Helper()
	for _, p := range problems {
		if s := p.String(); len(s) > 2000 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("a problem is not one short printable line: %q", s)
		}
	}
	ports, names := map[uint32]bool{}, map[string]bool{}
	for _, s := range c.Services {
		if ports[s.Port] || names[s.Name] || s.Port < 2 || s.Port >= 0xC0000000 || services.CheckName(s.Name) != nil {
			t.Errorf("service %v", s)
		}
		ports[s.Port], names[s.Name] = true, true
		if s.Kind != config.BuiltIn && (s.Port <= 7 || s.Max < 1 || s.Max > 1024 || s.PerDomain < 1 || s.PerDomain > s.Max || s.UID < 0 || s.GID < 0) {
			t.Errorf("service %+v", s)
		}
		checkRoundTrip(t, s)
	}
	if len(c.Name) > 63 || len(c.Services) > 64 || len(c.Modules) > 32 || len(c.Budgets) > 6 {
		t.Errorf("config %+v", c)
	}
}

// checkRoundTrip parses the spec of a service again.
func checkRoundTrip(t *testing.T, s config.Service) {
	t.Helper()
	c, problems := table().Resolve(setting("service", s.String()))
	for _, again := range c.Services {
		if again.Name == s.Name && reflect.DeepEqual(again, s) {
			return
		}
	}
	t.Errorf("%+v is spelt %q, which gives %+v, %v", s, s, c.Services, problems)
}

func FuzzCommandLine(f *testing.F) {
	for _, line := range []string{
		"", `"`, `=`, `xvsock.name="`, `"xvsock.name=a b"`, "xvsock.service=echo:7 xvsock.service=:", "xvsock.mode=\xff\x00",
		"console=hvc0 -- xvsock.log=debug", strings.Repeat("xvsock.", 600), `xvsock.service="kv:7000:exec,max=3:/kv a" xvsock.budget=links=3`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		source, problems, err := config.CommandLine(strings.NewReader(line), "PV")
		if err != nil {
			t.Fatal(err)
		}
		c, more := table().Resolve(source)
		checkResult(t, c, append(problems, more...))
	})
}

func FuzzSpec(f *testing.F) {
	for _, spec := range []string{
		"echo", "clock:2000", "kv:7000:exec:/kv", `kv:7000:exec-once,max=3,per-domain=2,uid=1,gid=2:/kv "a b" "" c"d e"`,
		"db:7000:forward:unix:/run/db", "db:7000:forward,max=1:tcp:[::1]:80", "kv:7000:exec:", ":::::", "kv:7000:exec,,:", `kv:7000:exec:"/a`,
	} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		c, problems := table().Resolve(setting("service", spec))
		checkResult(t, c, problems)
		if added := len(c.Services) - len(defaults().Services); added+len(problems) > 1 {
			t.Errorf("%d services, problems %q", added, texts(problems))
		}
	})
}

func FuzzFile(f *testing.F) {
	for _, text := range []string{
		"", "mode = 'backend'", "service = ['echo', 'kv:7000:exec:/kv']", "strict = true\nname = 5", "[a.b]\nc=1", "[[a]]", "a = [[1], {b=2}]",
		"a = 1979-05-27", "mode = '", "service = \"\"\"\nx\"\"\"", "a.b.c = 1", "a = nan", "\x00",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		source, problems, err := config.Text("file", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		c, more := table().Resolve(source)
		checkResult(t, c, append(problems, more...))
	})
}

func FuzzNodes(f *testing.F) {
	f.Add("mode", "backend", "service", "echo")
	f.Add("service", "kv:7000:exec:/kv", "service/0000", "\xff")
	f.Add("", "", "\x00", strings.Repeat("x", 5000))
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		source, problems := config.Nodes(map[string][]string{key1: {value1, value2}, key2: {value2, value1}})
		c, more := table().Resolve(source)
		checkResult(t, c, append(problems, more...))
	})
}
