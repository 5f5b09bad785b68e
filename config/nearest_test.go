package config_test

import (
	"strings"
	"testing"

	"xvsock/config"
)

func TestNearest(t *testing.T) {
	words := []string{"xvsock.mode", "xvsock.name", "warn", "xen_gntalloc", "ab", "aa"}
	for name, want := range map[string]string{
		"xvsock.mod": "xvsock.mode", "xvsock.naem": "xvsock.name", "wran": "warn", "wnra": "", "wan": "warn",
		"xengntalloc": "xen_gntalloc", "ac": "ab", "ba": "ab",
		"": "", "other": "", "xen_nothing_of_the_kind": "", strings.Repeat("x", 1<<20): "", strings.Repeat("a", 1<<20): "",
	} {
		if got := config.Nearest(name, words); got != want {
			t.Errorf("Nearest(%.40q) = %q; want %q", name, got, want)
		}
	}
}
