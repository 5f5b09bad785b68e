package kmod_test

import (
	"slices"
	"strings"
	"testing"

	"xvsock/kmod"
)

func TestNearest(t *testing.T) {
	names := []string{"xen_evtchn", "xen_gntdev", "xen_gntalloc", "vsock", "ab", "aa"}
	for name, want := range map[string]string{
		"xen_evtchm":               "xen_evtchn",
		"xen-gntdev":               "xen_gntdev",
		"xengntalloc":              "xen_gntalloc",
		"vsok":                     "vsock",
		"ac":                       "aa",
		"xen_nothing_of_the_kind":  "",
		"":                         "",
		strings.Repeat("a", 1<<20): "",
	} {
		if got := kmod.Nearest(name, slices.Values(names)); got != want {
			t.Errorf("Nearest(%.40q) = %q, want %q", name, got, want)
		}
	}
}
