package cli_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	for name, args := range map[string][]string{
		"help":             {},
		"help-backend":     {"backend", "--help"},
		"help-domain":      {"domain", "--help"},
		"help-sim":         {"sim", "--help"},
		"help-attach":      {"attach", "--help"},
		"help-detach":      {"detach", "--help"},
		"help-status":      {"status", "--help"},
		"help-peers":       {"peers", "--help"},
		"help-services":    {"services", "--help"},
		"help-resolve":     {"resolve", "--help"},
		"help-ping":        {"ping", "--help"},
		"help-image":       {"image"},
		"help-image-build": {"image", "build", "--help"},
		"help-image-xlcfg": {"image", "xlcfg", "--help"},
	} {
		r := run(t, args...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%v ends with %d: %s", args, r.code, r.stderr)
		}
		golden(t, name, r.stdout)
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		if r := run(t, arg); r.code != 0 || r.stdout != "xvsock v1.2.3\n" {
			t.Errorf("%s: %+v", arg, r)
		}
	}
}

func TestBadUsageIsToldInOneLine(t *testing.T) {
	for command, want := range map[string]string{
		"frobnicate":                      `no command "frobnicate" (see ` + "`xvsock --help`)",
		"srevices":                        "did you mean services?",
		"image frobnicate":                `no command "frobnicate" (see ` + "`xvsock image --help`)",
		"\x1b[2J":                         `no command`,
		"--frob":                          "unknown flag: --frob",
		"services --frob":                 "unknown flag: --frob (see `xvsock services --help`)",
		"services a b":                    "at most 1 arg",
		"services -o xml":                 `-o "xml": use table or json`,
		"peers -o":                        "needs an argument",
		"status now":                      `status takes no argument such as "now"`,
		"backend now":                     `backend takes no argument such as "now"`,
		"backend --log loud":              `--log "loud": use debug, info, warn or error`,
		"backend --service ssh":           `--service "ssh": not built in; there is echo`,
		"domain --service \x1b[2J":        `not built in; there is echo`,
		"attach":                          "accepts 1 arg",
		"attach a b":                      "accepts 1 arg",
		"detach":                          "accepts 1 arg",
		"resolve":                         "accepts 1 arg",
		"ping":                            "accepts 1 arg",
		"ping web --bytes many":           `invalid argument "many" for "--bytes"`,
		"ping web --bytes 0":              "--bytes 0: use 1 to 1073741824",
		"ping web --bytes -5":             "--bytes -5: use 1 to 1073741824",
		"ping web --bytes 1073741825":     "use 1 to 1073741824",
		"sim now":                         `sim takes no argument such as "now"`,
		"version now":                     `version takes no argument such as "now"`,
		"image build":                     `required flag(s) "output" not set`,
		"image build -o x y":              `build takes no argument such as "y"`,
		"image xlcfg":                     `required flag(s) "kernel", "name", "ramdisk" not set`,
		"image xlcfg --name a --kernel k": `required flag(s) "ramdisk" not set`,
		"image xlcfg --memory much":       `invalid argument "much" for "--memory"`,
		"image xlcfg --name a --kernel k --ramdisk r --type hvm": "hvm",
		"image xlcfg --name a\nb --kernel k --ramdisk r":         "name",
	} {
		r := run(t, strings.Split(command, " ")...)
		if r.code != 125 || !strings.Contains(r.stderr, want) {
			t.Errorf("%q ends with %d: %swant 125 and %q", command, r.code, r.stderr, want)
		}
		oneLine(t, r)
	}
}

func TestImageErrorsNameTheThing(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ args, want string }{
		{"image build -o " + dir + "/x --program /nonexistent", "/nonexistent"},
		{"image build -o " + dir + "/x --program /etc/passwd", "/etc/passwd"},
	} {
		r := run(t, strings.Split(c.args, " ")...)
		if r.code != 1 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%q ends with %d: %s", c.args, r.code, r.stderr)
		}
		oneLine(t, r)
	}
}

func TestAnImageWithoutDriversSaysSo(t *testing.T) {
	var program bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	if err := binary.Write(&program, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(init, program.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	r := run(t, "image", "build", "--program", init, "-o", init+".cpio.gz")
	_, rest, _ := strings.Cut(r.stdout, "\n")
	if want := "no drivers in it: for a kernel that has the Xen drivers built in (else use --modules)\n"; r.code != 0 || rest != want {
		t.Errorf("%+v, want the second line %q", r, want)
	}
}

func TestImageXLConfigIsPrinted(t *testing.T) {
	r := run(t, "image", "xlcfg", "--name", "web", "--type", "pv", "--kernel", "/boot/vmlinuz", "--ramdisk", "web.cpio.gz",
		"--cmdline", "xvsock.service=echo")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("%+v", r)
	}
	golden(t, "image-xlcfg", r.stdout)
}
