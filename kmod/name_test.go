package kmod_test

import (
	"testing"

	"xvsock/kmod"
)

func TestAPathGivesTheNameOfItsModuleOrNone(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"hyphens become underscores", "kernel/drivers/xen/xen-evtchn.ko", "xen_evtchn"},
		{"a suffix of compression goes", "kernel/a.ko.zst", "a"},
		{"a file without a folder", "a.ko", "a"},
		{"a dot in the name stays", "kernel/a.b.ko", "a.b"},
		{"nothing", "", ""},
		{"a name of nothing", "kernel/.ko", ""},
		{"a hidden file", "kernel/.a.ko", ""},
		{"no module", "kernel/a.txt", ""},
		{"an unknown compression", "kernel/a.ko.bz2", ""},
		{"an absolute path", "/kernel/a.ko", ""},
		{"a path that leads outside", "../a.ko", ""},
		{"a path that leads outside in its middle", "kernel/../../a.ko", ""},
		{"a path that is not clean", "kernel//a.ko", ""},
		{"a folder with a space", "ker nel/a.ko", ""},
		{"a folder with a colon", "kernel:x/a.ko", ""},
		{"a backslash", `kernel\x/a.ko`, ""},
		{"a byte that no name has", "kernel/a\x00.ko", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := kmod.NameOf(tt.file); got != tt.want {
				t.Errorf("NameOf(%q) = %q; want %q", tt.file, got, tt.want)
			}
		})
	}
}

func TestTheSuffixOfAModuleIsCut(t *testing.T) {
	for _, tt := range []struct {
		file, name, form string
		ok               bool
	}{
		{"a.ko", "a", "", true}, {"a.ko.gz", "a", "gz", true}, {"a.ko.xz", "a", "xz", true}, {"a.ko.zst", "a", "zst", true},
		{"/x/a.ko.gz", "/x/a", "gz", true}, {".ko", "", "", false}, {"a", "", "", false}, {"a.ko.lz4", "", "", false},
	} {
		name, form, ok := kmod.CutSuffix(tt.file)
		if name != tt.name || form != tt.form || ok != tt.ok {
			t.Errorf("CutSuffix(%q) = %q, %q, %t; want %q, %q, %t", tt.file, name, form, ok, tt.name, tt.form, tt.ok)
		}
	}
}

func TestOneOfTwoFilesPrecedes(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		want       bool
	}{
		{"an update precedes the kernel's", "updates/z.ko", "kernel/z.ko", true},
		{"the kernel's does not precede an update", "extra/z.ko", "updates/z.ko", false},
		{"the first by path precedes", "extra/z.ko", "kernel/z.ko", true},
		{"the first update by path precedes", "updates/a/z.ko", "updates/b/z.ko", true},
		{"a file does not precede itself", "kernel/z.ko", "kernel/z.ko", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := kmod.Precedes(tt.a, tt.b); got != tt.want {
				t.Errorf("Precedes(%q, %q) = %t; want %t", tt.a, tt.b, got, tt.want)
			}
		})
	}
}
