package cli_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/image"
)

func TestImageErrorsNameTheThing(t *testing.T) {
	dir := t.TempDir()
	program := staticProgram(t)
	for _, c := range []struct{ args, want string }{
		{"image build -o " + dir + "/x --program /nonexistent", "/nonexistent"},
		{"image build -o " + dir + "/x --program /etc/passwd", "/etc/passwd"},
		{"image build -o " + dir + "/x --program " + program + " --add /nonexistent", "/nonexistent"},
		{"image build -o " + dir + "/x --program " + program + " --add " + program + ":/init", "cannot be /init: that is PID 1"},
		{"image build -o " + dir + "/x --program " + program + " --config /nonexistent", "/nonexistent"},
		{"image build -o " + dir + "/x --program " + program + " --set serivce=echo", "did you mean service?"},
		{"image build -o " + dir + "/x --program " + program + " --set service=kv:7000:exec:/kv", "add it with --add FILE:/kv"},
		{"image build -o " + dir + "/x --program " + program + " --module vhost", "no modules directory named"},
		{"image check /nonexistent", "/nonexistent"},
		{"image check /etc/passwd", "not an initramfs"},
	} {
		r := run(t, strings.Split(c.args, " ")...)
		if r.code != 1 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%q ends with %d: %s", c.args, r.code, r.stderr)
		}
		oneLine(t, r)
	}
}

// staticProgram writes what can be PID 1.
func staticProgram(t *testing.T) (path string) {
	t.Helper()
	var program bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	if err := binary.Write(&program, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "init")
	if err := os.WriteFile(path, program.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// builtImage builds an image with a payload in the current directory and gives what
// the build printed.
func builtImage(t *testing.T, more ...string) result {
	t.Helper()
	program := staticProgram(t)
	t.Chdir(filepath.Dir(program)) // so that no message has a path of its own
	for name, text := range map[string]string{"data/words": "one two\n", "script": "#!/bin/sh\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return run(t, append([]string{"image", "build", "--program", "init", "--add", "init:/kv", "--add", "data", "--add", "script",
		"--set", "service=kv:7000:exec:/kv -x", "--set", "name=keys", "-o", "kv.cpio.gz"}, more...)...)
}

func TestImageBuildPrintsWhatWentIn(t *testing.T) {
	here, err := os.Getwd() // for the golden file
	if err != nil {
		t.Fatal(err)
	}
	r := builtImage(t)
	want := `xvsock: warning: /script: its interpreter "/bin/sh" is not in the image; add that too` + "\n"
	if r.code != 0 || r.stderr != want {
		t.Errorf("ends with %d: %s", r.code, r.stderr)
	}
	// The size in bytes and the hash are the compressor's.
	table, rest, _ := strings.Cut(r.stdout, "kv.cpio.gz: ")
	_, rest, _ = strings.Cut(rest, "\n")
	t.Chdir(here)
	golden(t, "image-build", table+rest)

	r = builtImage(t, "--format", "json")
	var report image.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatal(err)
	}
	if report.Output != "kv.cpio.gz" || len(report.Items) != 9 || len(report.Warnings) != 1 || report.Warnings[0].Level != image.Warning ||
		strings.Contains(r.stdout, "null") {
		t.Errorf("the report is %s", r.stdout)
	}
}

func TestImageBuildTellsEachProblemOfTheSettings(t *testing.T) {
	r := builtImage(t, "--set", "nmae=x", "--set", "log=loud")
	want := `xvsock: --set: nmae="x": unknown key; did you mean name?
xvsock: --set: log="loud": not one of debug, info, warn, error; the default is info
xvsock: build image: 2 problems with the settings
`
	if r.code != 1 || r.stdout != "" || r.stderr != want {
		t.Errorf("ends with %d: %s%swant %s", r.code, r.stdout, r.stderr, want)
	}
}

func TestImageCheckPrintsWhatIsMissing(t *testing.T) {
	builtImage(t)
	r := run(t, "image", "check", "kv.cpio.gz")
	unknown := ""
	for _, name := range image.DefaultModules() {
		unknown += "missing: " + name + ": not in the image, and whether the kernel has it built in is not known; " +
			"give --modules or --kernel-config to say that it is built in, or build the image with --modules lib/modules/VERSION\n"
	}
	warning := `warning: /script: its interpreter "/bin/sh" is not in the image; add that too` + "\n"
	unchecked := "not checked: kernel: which one the domain will boot is not known; name it with --kernel\n"
	if r.code != 1 || r.stderr != "xvsock: kv.cpio.gz is not in order: 3 things are missing or wrong\n" || r.stdout != unknown+warning+unchecked {
		t.Errorf("ends with %d: %s%swant %s", r.code, r.stderr, r.stdout, unknown+warning+unchecked)
	}

	const goodConfig = `CONFIG_XEN=y
CONFIG_XEN_PV=y
CONFIG_BLK_DEV_INITRD=y
CONFIG_RD_GZIP=y
CONFIG_BINFMT_ELF=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_DEVTMPFS=y
CONFIG_TMPFS=y
CONFIG_UNIX=y
CONFIG_EPOLL=y
CONFIG_EVENTFD=y
CONFIG_FUTEX=y
CONFIG_HVC_XEN=y
CONFIG_XEN_DEV_EVTCHN=y
CONFIG_XEN_GNTDEV=y
CONFIG_XEN_GRANT_DEV_ALLOC=y
`
	if err := os.WriteFile("good", []byte(goodConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	r = run(t, "image", "check", "kv.cpio.gz", "--kernel-config", "good")
	want := warning + unchecked + "kv.cpio.gz: in order as far as it could be checked; built in: xen_evtchn, xen_gntdev, xen_gntalloc\n"
	if r.code != 0 || r.stdout != want {
		t.Errorf("ends with %d: %s%swant %s", r.code, r.stderr, r.stdout, want)
	}

	if err := os.WriteFile("config", []byte("CONFIG_XEN=y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r = run(t, "image", "check", "kv.cpio.gz", "--kernel-config", "config")
	if r.code != 1 || !strings.HasPrefix(r.stdout, "missing: CONFIG_XEN_PV or CONFIG_XEN_PVH: not built into the kernel: ") ||
		!strings.Contains(r.stderr, "xvsock: kv.cpio.gz is not in order: 15 things are missing or wrong\n") {
		t.Errorf("ends with %d: %s%s", r.code, r.stderr, r.stdout)
	}

	r = run(t, "image", "check", "kv.cpio.gz", "--format", "json")
	var report image.CheckReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Findings) != 5 || report.Lacks() != 3 || r.code != 1 {
		t.Errorf("ends with %d: %v in %s", r.code, err, r.stdout)
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
