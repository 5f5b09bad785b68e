package config

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	words := []string{"xvsock.mode", "xvsock.name", "warn"}
	for _, tt := range []struct{ name, want string }{
		{"xvsock.mod", "xvsock.mode"}, {"xvsock.naem", "xvsock.name"}, {"wran", "warn"}, {"wnra", ""}, {"wan", "warn"},
		{"", ""}, {"other", ""}, {strings.Repeat("x", 1<<20), ""},
	} {
		if got := nearest(tt.name, words); got != tt.want {
			t.Errorf("nearest(%.20q) = %q; want %q", tt.name, got, tt.want)
		}
	}
}
