package kmod_test

import (
	"slices"
	"strings"
	"testing"

	"xvsock/kmod"
)

func TestAModuleIsFoundByItsName(t *testing.T) {
	deps := kmod.Deps{"kernel/a-b.ko.xz": nil, "kernel/c.ko": nil, "updates/c.ko": nil, "extra/c.ko": nil}
	for _, tt := range []struct{ name, module, want string }{
		{"spelt with a hyphen", "a-b", "kernel/a-b.ko.xz"},
		{"spelt with an underscore", "a_b", "kernel/a-b.ko.xz"},
		{"of several files the update", "c", "updates/c.ko"},
		{"not there", "d", ""},
		{"of no name", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := deps.Find(tt.module); got != tt.want || ok != (tt.want != "") {
				t.Errorf("Find(%q) = %q, %t; want %q", tt.module, got, ok, tt.want)
			}
		})
	}
}

func TestModulesAreOrderedAfterWhatTheyNeed(t *testing.T) {
	for _, tt := range []struct {
		name string
		deps kmod.Deps
		want []string
	}{
		{"nothing needed", kmod.Deps{"a.ko": nil}, []string{"a.ko"}},
		{"the nearest need first in the list", kmod.Deps{"a.ko": {"b.ko", "c.ko"}}, []string{"c.ko", "b.ko", "a.ko"}},
		{"a need that two have", kmod.Deps{"a.ko": {"b.ko", "c.ko"}, "b.ko": {"c.ko"}}, []string{"c.ko", "b.ko", "a.ko"}},
		{"a circle", kmod.Deps{"a.ko": {"b.ko"}, "b.ko": {"a.ko"}}, []string{"b.ko", "a.ko"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.deps.Order("a.ko"); !slices.Equal(got, tt.want) {
				t.Errorf("Order() = %q; want %q", got, tt.want)
			}
		})
	}
}

func FuzzOrder(f *testing.F) {
	for _, text := range []string{"", "a.ko:\n", "a.ko: b.ko a.ko\nb.ko: a.ko\n", "a.ko: b.ko c.ko\nb.ko: c.ko\n"} {
		f.Add(text, "a")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		deps, err := kmod.ParseDeps(strings.NewReader(text))
		if err != nil {
			return
		}
		file, ok := deps.Find(name)
		if !ok {
			return
		}
		seen := map[string]bool{}
		order := deps.Order(file)
		for _, f := range order {
			if seen[f] {
				t.Errorf("%q is loaded twice", f)
			}
			seen[f] = true
		}
		if order[len(order)-1] != file {
			t.Errorf("Order(%q) = %q; want it last", file, order)
		}
	})
}
