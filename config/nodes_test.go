package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
)

func TestSettingsFromXenstore(t *testing.T) {
	source, problems := config.Nodes(map[string][]string{
		"service": {"clock:2000", "kv:7000:exec:/kv"}, "mode": {"backend"}, "name": nil,
	})
	c, more := table().Resolve(source)
	want := defaults()
	want.Mode = config.Backend
	want.Services = append(want.Services, config.Service{Name: "clock", Port: 2000}, config.Service{
		Name: "kv", Port: 7000, Kind: config.Exec, Args: []string{"/kv"}, Options: config.Options{Max: 64, PerDomain: 16}})
	if d := diff(want, c); d != "" || len(problems)+len(more) > 0 {
		t.Errorf("problems %v %v, config (-want +got):\n%s", problems, more, d)
	}
	if c.Origin("mode") != "xenstore" || c.Origin("name") != "default" {
		t.Errorf("origins %q, %q", c.Origin("mode"), c.Origin("name"))
	}
}

func TestWrongNodes(t *testing.T) {
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("m%d", i%32)
	}
	for _, tt := range []struct {
		name   string
		values map[string][]string
		want   []string
	}{
		{"binary data", map[string][]string{"name": {"a\x00\xff"}}, []string{`xenstore: name="a\x00\xff": binary data`}},
		{"a zero byte", map[string][]string{"name": {"a\x00"}}, []string{`xenstore: name="a\x00": binary data: byte 0x00`}},
		{"a long value", map[string][]string{"name": {strings.Repeat("x", 4096)}},
			[]string{`xenstore: name="` + strings.Repeat("x", 80) + `"...: 4096 bytes long, 2048 are allowed`}},
		{"an unknown key", map[string][]string{"nam": {"x"}}, []string{`xenstore: nam="x": unknown key; did you mean name?`}},
		{"a key that is binary", map[string][]string{"\xff\n": {"x"}},
			[]string{`xenstore: \xff\n="x": unknown key; known are mode, name, service, policy, budget, poll, bridge, bridge-deny, door-mode, door-group, module, log, panic, strict`}},
		{"an empty value", map[string][]string{"mode": {""}}, []string{`xenstore: mode="": not one of frontend, backend; the default is frontend`}},
		{"too many", map[string][]string{"log": {"info"}, "module": many, "name": {"x"}},
			[]string{`xenstore: more than 256 values; nothing is taken from "module" on`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			source, problems := config.Nodes(tt.values)
			_, more := table().Resolve(source)
			if diff := cmp.Diff(tt.want, texts(append(problems, more...))); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
