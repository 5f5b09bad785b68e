package services_test

import (
	"errors"
	"testing"

	"xvsock/services"
)

func TestWellKnownPorts(t *testing.T) {
	table := map[string]uint32{"manager": 1, "discovery": 2, "health": 3, "control": 4, "metrics": 5, "log": 6, "echo": 7, "bench": 8, "ssh": 22}
	for name, port := range table {
		if got := services.WellKnown(port); got != name {
			t.Errorf("WellKnown(%d) = %q; want %q", port, got, name)
		}
		if got, known := services.PortOf(name); !known || got != port {
			t.Errorf("PortOf(%q) = %d, %v; want %d", name, got, known, port)
		}
		if got, err := services.ParsePort(name); err != nil || got != port {
			t.Errorf("ParsePort(%q) = %d, %v; want %d", name, got, err, port)
		}
		if got := services.FormatPort(port); got != name {
			t.Errorf("FormatPort(%d) = %q; want %q", port, got, name)
		}
		if err := services.CheckName(name); err != nil {
			t.Errorf("the well-known name breaks the rule: %v", err)
		}
	}
	for port := range uint32(1024) {
		if name := services.WellKnown(port); name != "" && table[name] != port {
			t.Errorf("WellKnown(%d) = %q, which is not in the table", port, name)
		}
	}
}

func TestParsePort(t *testing.T) {
	for in, want := range map[string]uint32{"1": 1, "7": 7, "7000": 7000, "4294967294": 0xFFFFFFFE} {
		if got, err := services.ParsePort(in); err != nil || got != want {
			t.Errorf("ParsePort(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "4294967295", "4294967296", "-1", "+7", "07", " 7", "7 ", "0x7", "Echo", "nothing", "1_0"} {
		if got, err := services.ParsePort(in); !errors.Is(err, services.ErrPort) {
			t.Errorf("ParsePort(%q) = %d, %v; want ErrPort", in, got, err)
		}
	}
	if got := services.FormatPort(7000); got != "7000" {
		t.Errorf("FormatPort(7000) = %q", got)
	}
}
