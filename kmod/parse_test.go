package kmod_test

import (
	"bufio"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"xvsock/kmod"
)

func TestModulesDepIsRead(t *testing.T) {
	deps, err := kmod.ParseDeps(strings.NewReader("# comment\n\nkernel/a.ko: kernel/b-c.ko kernel/d.ko.xz\nkernel/d.ko.xz:\n"))
	want := kmod.Deps{"kernel/a.ko": {"kernel/b-c.ko", "kernel/d.ko.xz"}, "kernel/d.ko.xz": {}}
	if diff := cmp.Diff(want, deps); err != nil || diff != "" {
		t.Errorf("ParseDeps() = %v (-want +got):\n%s", err, diff)
	}
}

func TestModulesBuiltinIsRead(t *testing.T) {
	builtin, err := kmod.ParseBuiltin(strings.NewReader("# comment\nkernel/a.ko\n\nkernel/b-c.ko\n"))
	want := map[string]bool{"a": true, "b_c": true}
	if diff := cmp.Diff(want, builtin); err != nil || diff != "" {
		t.Errorf("ParseBuiltin() = %v (-want +got):\n%s", err, diff)
	}
}

func TestABadLineIsNamed(t *testing.T) {
	deps := func(s string) error { _, err := kmod.ParseDeps(strings.NewReader(s)); return err }
	builtin := func(s string) error { _, err := kmod.ParseBuiltin(strings.NewReader(s)); return err }
	long := strings.Repeat("x", 1<<16) + ".ko"
	for _, tt := range []struct {
		name  string
		parse func(string) error
		text  string
		want  string
		is    error
	}{
		{"no colon", deps, "a.ko:\n\nno colon here\n", `line 3 has no colon: "no colon here"`, nil},
		{"a module outside", deps, "../../a.ko:\n", `line 1 has "../../a.ko", which is not`, kmod.ErrPath},
		{"an absolute module", deps, "/a.ko:\n", `line 1 has "/a.ko", which is not`, kmod.ErrPath},
		{"a need outside", deps, "a.ko: b.ko ../c.ko\n", `line 1 has "../c.ko", which is not`, kmod.ErrPath},
		{"a module of no name", deps, ": a.ko\n", `line 1 has "", which is not`, kmod.ErrPath},
		{"a line of modules.dep without end", deps, "a.ko:\n" + long + ":\n", "line 2: ", bufio.ErrTooLong},
		{"a built-in module outside", builtin, "a.ko\n../b.ko\n", `line 2 has "../b.ko", which is not`, kmod.ErrPath},
		{"a built-in module that is not text", builtin, "\x00\x01\n", `line 1 has "\x00\x01", which is not`, kmod.ErrPath},
		{"a line of modules.builtin without end", builtin, long + "\n", "line 1: ", bufio.ErrTooLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.parse(tt.text)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("error is %v; want %q, %v", err, tt.want, tt.is)
			}
		})
	}
}

func TestAnErrorDoesNotRepeatALongLine(t *testing.T) {
	_, err := kmod.ParseDeps(strings.NewReader(strings.Repeat("x", 1<<15)))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("ParseDeps() = %v; want a short error", err)
	}
}

func FuzzParseDeps(f *testing.F) {
	for _, text := range []string{
		"", "a.ko:\n", "a.ko: b.ko a.ko\nb.ko: a.ko\n", "no colon", ":", "# c\n x.ko : y.ko\n", "../a.ko:\n",
		"kernel/a.ko: kernel/b.ko kernel/c.ko.xz\nkernel/b.ko:\n# comment\n\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, in string) {
		deps, err := kmod.ParseDeps(strings.NewReader(in))
		if err != nil {
			return
		}
		for module, needs := range deps {
			for _, file := range append(needs, module) {
				if kmod.NameOf(file) == "" || strings.HasPrefix(file, "/") || strings.HasPrefix(file, "..") {
					t.Errorf("%q was taken for a module's path", file)
				}
			}
		}
	})
}

func FuzzParseBuiltin(f *testing.F) {
	f.Add("kernel/a.ko\nkernel/b-c.ko\n")
	f.Fuzz(func(t *testing.T, in string) {
		builtin, err := kmod.ParseBuiltin(strings.NewReader(in))
		if err != nil {
			return
		}
		for name := range builtin {
			if !kmod.IsName(name) || kmod.Canonical(name) != name {
				t.Errorf("%q was taken for a module's name", name)
			}
		}
	})
}
