package payload_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"xvsock/services"
	"xvsock/services/payload"
)

func TestAMissingPayloadHasItsLine(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	self = self[:min(len(self), 64<<10)]
	foreign := append([]byte{}, self...)
	foreign[18], foreign[19] = 0xF3, 0 // e_machine: EM_RISCV
	for name, c := range map[string]struct {
		path string
		uid  uint32
		want string // behind the path; "" if it can be run
	}{
		"a program":                     {"/proc/self/exe", 0, ""},
		"a script":                      {put("script", "#!/bin/sh\n", 0o755), 0, ""},
		"not there":                     {dir + "/none", 0, ": no such file; add it with xvsock image build --add"},
		"a directory":                   {dir, 0, ": a directory, not a program"},
		"a device":                      {"/dev/null", 0, ": no regular file"},
		"not executable":                {put("plain", "#!/bin/sh\n", 0o644), 0, ": not executable (mode 0644); make it so before it is added"},
		"for root only":                 {put("private", "#!/bin/sh\n", 0o700), 77, ": uid 77, gid 0 may not execute it (mode 0700)"},
		"for all":                       {put("public", "#!/bin/sh\n", 0o755), 77, ""},
		"empty":                         {put("empty", "", 0o755), 0, ": an empty file"},
		"a text":                        {put("text", "hello", 0o755), 0, ": neither an ELF program nor a script that begins with #!"},
		"a script without interpreter":  {put("lost", "#! /no/such/sh -e\n", 0o755), 0, ": needs /no/such/sh, which is not there; link it statically, or add that too"},
		"for another machine":           {put("foreign", string(foreign), 0o755), 0, ": built for another machine (ELF class 2, machine 243; this domain is 2, 62)"},
		"an ELF file of four bytes":     {put("broken", "\x7fELF", 0o755), 0, ": a broken ELF file of 4 bytes"},
		"a program without its library": {put("dynamic", dynamic(t, self), 0o755), 0, ": needs /no/such/ld.so, which is not there; link it statically, or add that too"},
	} {
		for kind, make := range map[string]func(payload.Config, []string) services.Service{"exec": payload.NewExec, "exec-once": payload.NewOnce} {
			if kind == "exec-once" && c.want == "" {
				continue // it would be started
			}
			err := make(payload.Config{UID: c.uid}, []string{c.path}).(services.Preparer).Prepare(context.Background())
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s, %s: %v", kind, name, err)
			case c.want != "" && (!errors.Is(err, payload.ErrProgram) || err.Error() != c.path+c.want):
				t.Errorf("%s, %s: %v; want %s", kind, name, err, c.path+c.want)
			}
		}
	}
	for _, args := range [][]string{nil, {""}, {"kv"}, {"./kv"}} {
		if err := payload.NewExec(payload.Config{}, args).(services.Preparer).Prepare(context.Background()); !errors.Is(err, payload.ErrProgram) {
			t.Errorf("%q: %v; want ErrProgram", args, err)
		}
	}
}

// dynamic makes the first segment of an ELF file say that it needs a loader that is
// not there.
func dynamic(t *testing.T, elf []byte) string {
	t.Helper()
	const interp = "/no/such/ld.so\x00"
	out := append([]byte{}, elf...)
	clear(out[40:48]) // Elf64_Ehdr: no sections
	clear(out[60:64])
	const header, offset = 64, 4096 // Elf64_Ehdr; where the name is put
	copy(out[offset:], interp)
	ph := out[header : header+56] // Elf64_Phdr: type, flags, offset, ..., filesz
	ph[0] = 3                     // PT_INTERP
	for i, v := range map[int]uint64{8: offset, 32: uint64(len(interp)), 40: uint64(len(interp))} {
		for b := range 8 {
			ph[i+b] = byte(v >> (8 * b))
		}
	}
	return string(out)
}
