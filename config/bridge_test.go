package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
)

func TestKeysOfTheBridge(t *testing.T) {
	with := func(change func(*config.Config)) config.Config {
		c := defaults()
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		line     string
		want     config.Config
		problems int
	}{
		"off":                       {"xvsock.bridge=off", with(func(c *config.Config) { c.Bridge = false }), 0},
		"a number, a name, a range": {"xvsock.bridge-deny=9 xvsock.bridge-deny=ssh xvsock.bridge-deny=8000-8010", with(func(c *config.Config) { c.Deny = []config.PortRange{{9, 9}, {22, 22}, {8000, 8010}} }), 0},
		"a range of names":          {"xvsock.bridge-deny=echo-ssh", defaults(), 1},
		"a range turned round":      {"xvsock.bridge-deny=9-8", defaults(), 1},
		"half a range":              {"xvsock.bridge-deny=9-", defaults(), 1},
		"no port":                   {"xvsock.bridge-deny=0", defaults(), 1},
		"rights for all":            {"xvsock.door-mode=0666", with(func(c *config.Config) { c.DoorMode = 0o666 }), 0},
		"rights to execute":         {"xvsock.door-mode=0777", defaults(), 1},
		"not even the owner":        {"xvsock.door-mode=0060", defaults(), 1},
		"rights in words":           {"xvsock.door-mode=rw", defaults(), 1},
		"a group":                   {"xvsock.door-group=kvm", with(func(c *config.Config) { c.DoorGroup = "kvm" }), 0},
		"a group by its number":     {"xvsock.door-group=10999", with(func(c *config.Config) { c.DoorGroup = "10999" }), 0},
		"a group with a blank":      {`xvsock.door-group="a b"`, defaults(), 1},
	} {
		got, problems := resolve(t, tt.line)
		if d := diff(tt.want, got); d != "" || len(problems) != tt.problems {
			t.Errorf("%s: problems %q, config (-want +got):\n%s", name, problems, d)
		}
	}
}

func TestARangeIsSpeltAsItIsRead(t *testing.T) {
	want := []string{"echo", "8000-8010"}
	c, _ := resolve(t, "xvsock.bridge-deny=7 xvsock.bridge-deny=8000-8010")
	for _, v := range c.Values() {
		if v.Key == "bridge-deny" {
			if d := cmp.Diff(want, v.Value); d != "" {
				t.Error(d)
			}
			return
		}
	}
	t.Error("no bridge-deny among the values")
}
