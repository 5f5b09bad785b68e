package pid1

import (
	"strings"
	"testing"
)

func FuzzModuleDeps(f *testing.F) {
	for _, text := range []string{"", "a.ko:\n", "a.ko: b.ko a.ko\nb.ko: a.ko\n", "no colon", ":", "# c\n x.ko : y.ko\n"} {
		f.Add(text, "a")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		deps, err := parseModuleDeps(strings.NewReader(text))
		if err != nil {
			return
		}
		file, ok := deps.find(name)
		if !ok {
			return
		}
		seen := map[string]bool{}
		order := deps.order(file)
		for _, f := range order {
			if seen[f] {
				t.Errorf("%q is loaded twice", f)
			}
			seen[f] = true
		}
		if order[len(order)-1] != file {
			t.Errorf("order(%q) = %q; want it last", file, order)
		}
	})
}

func TestNearest(t *testing.T) {
	words := []string{"xvsock.mode", "xvsock.name", "warn"}
	for _, tt := range []struct{ name, want string }{
		{"xvsock.mod", "xvsock.mode"}, {"xvsock.naem", "xvsock.name"}, {"wran", ""}, {"wan", "warn"},
		{"", ""}, {"other", ""}, {strings.Repeat("x", 1<<20), ""},
	} {
		if got := nearest(tt.name, words); got != tt.want {
			t.Errorf("nearest(%.20q) = %q; want %q", tt.name, got, tt.want)
		}
	}
}
