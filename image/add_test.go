package image_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"

	"xvsock/image"
)

func TestParseEntry(t *testing.T) {
	for text, want := range map[string]image.Entry{
		"kv":           {From: "kv"},
		"./kv":         {From: "./kv"},
		"kv:/bin/kv":   {From: "kv", To: "/bin/kv"},
		"/a/b:/":       {From: "/a/b", To: "/"},
		"/a:/b:/c":     {From: "/a:/b", To: "/c"},
		"a:b:/a:b":     {From: "a:b", To: "/a:b"},
		"data:/data/":  {From: "data", To: "/data/"},
		"with blank:/": {From: "with blank", To: "/"},
	} {
		if got, err := image.ParseEntry(text); err != nil || got != want {
			t.Errorf("ParseEntry(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":         `add "": no file named; use FILE or FILE:/PATH/IN/THE/IMAGE`,
		":/x":      `add ":/x": no file named; use FILE or FILE:/PATH/IN/THE/IMAGE`,
		"kv:bin":   `add kv: the path in the image, "bin", does not begin with a slash`,
		"kv:":      `add kv: the path in the image, "", does not begin with a slash`,
		"a:b/c\nd": `add a: the path in the image, "b/c\nd", does not begin with a slash`,
	} {
		if _, err := image.ParseEntry(text); err == nil || err.Error() != want {
			t.Errorf("ParseEntry(%q) = %v, want %s", text, err, want)
		}
	}
}

// payload makes a directory with files, links and modes to add.
func payload(t *testing.T) string {
	t.Helper()
	dir := tree(t, map[string][]byte{
		"app/bin/tool": program(), "app/lib/data": []byte("text"), "app/empty/deep/.keep": nil, "kv": program(),
	})
	err := errors.Join(
		os.Chmod(filepath.Join(dir, "app/bin/tool"), 0o4510),
		os.Chmod(filepath.Join(dir, "app/lib/data"), 0o600),
		os.Chmod(filepath.Join(dir, "app/lib"), 0o700),
		os.Chmod(filepath.Join(dir, "kv"), 0o711),
		os.Symlink("../lib/data", filepath.Join(dir, "app/bin/data")),
		os.Symlink("tool", filepath.Join(dir, "app/bin/same")),
		os.Symlink("/init", filepath.Join(dir, "app/xvsock")),
		os.Symlink("/proc/self/mounts", filepath.Join(dir, "app/mtab")),
		os.Symlink("gone", filepath.Join(dir, "app/dangling")),
		os.Symlink("app", filepath.Join(dir, "link")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAddTakesFilesAndDirectories(t *testing.T) {
	dir := payload(t)
	o := inputs(t, nil)
	o.ModulesDir = ""
	bare, _ := built(t, o)
	o.Add = []image.Entry{
		{From: dir + "/app"}, {From: dir + "/app/", To: "/opt/app"}, {From: dir + "/app/lib", To: "/"},
		{From: dir + "/kv"}, {From: dir + "/kv", To: "/bin/"}, {From: dir + "/kv", To: "/bin/store"},
		{From: dir + "/link", To: "/linked/./x"}, {From: dir + "/link/lib"},
	}
	report, got := built(t, o)
	for name, want := range map[string]struct {
		mode uint64
		text string
	}{
		"app":              {cpio.S_IFDIR | 0o755, ""},
		"app/lib":          {cpio.S_IFDIR | 0o755, ""},
		"app/empty/deep":   {cpio.S_IFDIR | 0o755, ""},
		"app/bin/tool":     {cpio.S_IFREG | 0o710, string(program())},
		"app/lib/data":     {cpio.S_IFREG | 0o600, "text"},
		"app/bin/data":     {cpio.S_IFLNK | 0o777, "../lib/data"},
		"app/bin/same":     {cpio.S_IFLNK | 0o777, "tool"},
		"app/xvsock":       {cpio.S_IFLNK | 0o777, "/init"},
		"app/mtab":         {cpio.S_IFLNK | 0o777, "/proc/self/mounts"},
		"app/dangling":     {cpio.S_IFLNK | 0o777, "gone"},
		"opt/app/lib/data": {cpio.S_IFREG | 0o600, "text"},
		"data":             {cpio.S_IFREG | 0o600, "text"},
		"kv":               {cpio.S_IFREG | 0o711, string(program())},
		"bin/kv":           {cpio.S_IFREG | 0o711, string(program())},
		"bin/store":        {cpio.S_IFREG | 0o711, string(program())},
		"linked/x/bin":     {cpio.S_IFDIR | 0o755, ""},
		"lib/data":         {cpio.S_IFREG | 0o600, "text"},
		"tmp":              {cpio.S_IFDIR | 0o1777, ""},
	} {
		r, ok := got[name]
		if !ok || r.Mode != want.mode || content(t, r) != want.text {
			t.Errorf("%s is %v", name, r.Info)
		}
	}
	if len(report.Warnings) > 0 {
		t.Errorf("warnings: %v", report.Warnings)
	}
	i := slices.IndexFunc(report.Items, func(i image.Item) bool { return i.Path == "/app/bin/data" })
	want := image.Item{Kind: image.KindLink, Path: "/app/bin/data", Size: 11, Target: "../lib/data"}
	if i < 0 || report.Items[i] != want {
		t.Errorf("the report has no %+v: %+v", want, report.Items)
	}
	if report.Directories-bare.Directories != 19 || len(report.Items)-len(bare.Items) != 29 {
		t.Errorf("%d directories and %d items more", report.Directories-bare.Directories, len(report.Items)-len(bare.Items))
	}
}

func TestAddMergesIntoDirectoriesOfTheImage(t *testing.T) {
	dir := tree(t, map[string][]byte{"root/etc/motd": []byte("hi"), "root/proc/.keep": nil, "root/sbin/tool": program()})
	if err := os.Remove(filepath.Join(dir, "root/proc/.keep")); err != nil {
		t.Fatal(err)
	}
	o := inputs(t, nil)
	o.Add = []image.Entry{{From: dir + "/root", To: "/"}}
	_, got := built(t, o)
	if content(t, got["etc/motd"]) != "hi" || content(t, got["sbin/poweroff"]) != "/init" || got["sbin/tool"].Name == "" {
		t.Errorf("the image holds %v", slices.Sorted(maps.Keys(got)))
	}
}

// TestAddIsReproducible has the same payload made in another order, at another
// time, by somebody with another umask.
func TestAddIsReproducible(t *testing.T) {
	images := make([][]byte, 2)
	for i, umask := range []int{0o002, 0o022} {
		o := inputs(t, nil)
		old := syscall.Umask(umask)
		names := []string{"a/x", "a/y", "b", "z/deep/file"}
		if i == 1 {
			slices.Reverse(names)
		}
		dir := t.TempDir()
		for _, name := range names {
			file := filepath.Join(dir, "p", name)
			when := time.Unix(int64(1e9*(i+1)), 0)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o777), os.WriteFile(file, []byte(name), 0o666),
				os.Chtimes(file, when, when)); err != nil {
				t.Fatal(err)
			}
		}
		syscall.Umask(old)
		o.Add = []image.Entry{{From: dir + "/p/a"}, {From: dir + "/p/b"}, {From: dir + "/p/z"}}
		o.Set = []string{"log=debug", "module=vhost_vsock", "service=kv:7000:exec:/b2"}
		o.Settings = settingsTable()
		o.Files = map[string]string{"b2": o.Program}
		if err := os.Chmod(o.Program, 0o755-os.FileMode(umask)&0o055); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			slices.Reverse(o.Add)
		}
		built(t, o)
		var err error
		if images[i], err = os.ReadFile(o.Output); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("the same payload gave other bytes")
	}
}

func TestWhoMayReadAFileMayReadItInTheImage(t *testing.T) {
	o := inputs(t, nil)
	o.ModulesDir = ""
	want := map[uint32]uint64{
		0o600: 0o600, 0o400: 0o600, 0o000: 0o600, 0o640: 0o640, 0o660: 0o640, 0o604: 0o604, 0o644: 0o644, 0o666: 0o644,
		0o700: 0o700, 0o500: 0o700, 0o744: 0o755, 0o750: 0o750, 0o740: 0o750, 0o711: 0o711, 0o755: 0o755, 0o777: 0o755, 0o655: 0o755, 0o010: 0o710,
	}
	dir := t.TempDir()
	for mode := range want {
		file := filepath.Join(dir, fmt.Sprintf("%o", mode))
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chmod(file, os.FileMode(mode))); err != nil {
			t.Fatal(err)
		}
	}
	o.Add = []image.Entry{{From: dir, To: "/d"}}
	if os.Getuid() != 0 {
		t.Skip("only root reads what nobody may")
	}
	report, got := built(t, o)
	for mode, perm := range want {
		if r := got[fmt.Sprintf("d/%o", mode)]; r.Mode != cpio.S_IFREG|perm {
			t.Errorf("mode %#o becomes %#o; want %#o", mode, r.Mode, perm)
		}
	}
	if len(report.Warnings) > 0 {
		t.Errorf("warnings: %v", report.Warnings)
	}
}

func TestNothingIsSetuidInTheImage(t *testing.T) {
	o := inputs(t, nil)
	o.ModulesDir = ""
	dir := t.TempDir()
	want := []string{}
	for _, c := range []struct {
		name string
		mode os.FileMode
	}{{"setgid", os.ModeSetgid | 0o700}, {"setuid", os.ModeSetuid | 0o755}, {"sticky", os.ModeSticky | 0o644}, {"tmp", os.ModeDir | os.ModeSticky | os.ModeSetgid | 0o777}} {
		file := filepath.Join(dir, "d", c.name)
		err := os.MkdirAll(file, 0o755)
		if !c.mode.IsDir() {
			err = errors.Join(err, os.Remove(file), os.WriteFile(file, program(), 0o600))
		}
		if err = errors.Join(err, os.Chmod(file, c.mode)); err != nil {
			t.Fatal(err)
		}
		want = append(want, "warning: /d/"+c.name+": what it was added from has mode "+c.mode.String()+", and in the image it is neither setuid, setgid nor sticky")
	}
	o.Add = []image.Entry{{From: dir + "/d"}}
	report, got := built(t, o)
	lines := []string{}
	for _, w := range report.Warnings {
		lines = append(lines, string(w.Level)+": "+w.String())
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	for name, mode := range map[string]uint64{"setuid": cpio.S_IFREG | 0o755, "setgid": cpio.S_IFREG | 0o700, "sticky": cpio.S_IFREG | 0o644, "tmp": cpio.S_IFDIR | 0o755} {
		if got["d/"+name].Mode != mode {
			t.Errorf("%s has mode %#o; want %#o", name, got["d/"+name].Mode, mode)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	dir := payload(t)
	for name, target := range map[string]string{"out": "../../etc/passwd", "up": "..", "abs": "/etc/passwd"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o755), os.Symlink(target, filepath.Join(dir, name, "l"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "pipe"), 0o755), syscall.Mkfifo(filepath.Join(dir, "pipe/p"), 0o644),
		os.Mkdir(filepath.Join(dir, "etc"), 0o755), os.WriteFile(filepath.Join(dir, "etc/xvsock.toml"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	const word = "not in order: "
	for name, test := range map[string]struct {
		entry image.Entry // From below dir
		want  string      // with DIR for dir
	}{
		"what is not there":    {image.Entry{From: "none"}, "add DIR/none: lstat DIR/none: no such file or directory"},
		"PID 1":                {image.Entry{From: "kv", To: "/init"}, word + "cannot be /init: that is PID 1"},
		"PID 1's other name":   {image.Entry{From: "kv", To: "/sbin/poweroff"}, word + "cannot be /sbin/poweroff: that is PID 1"},
		"PID 1, by a slash":    {image.Entry{From: "kv", To: "//sbin/../init"}, word + "cannot be /init: that is PID 1"},
		"a directory's place":  {image.Entry{From: "kv", To: "/etc"}, word + "cannot be /etc: there is a directory of that name in the image"},
		"the root":             {image.Entry{From: "kv", To: "/."}, word + "cannot be /: that is a directory"},
		"a file below a file":  {image.Entry{From: "kv", To: "/init/kv"}, `not a path for an archive: "init/kv" lies below "init", which is no directory`},
		"a hidden place":       {image.Entry{From: "kv", To: "/run/kv"}, word + "cannot be /run/kv: PID 1 mounts a file system on /run, which would hide it"},
		"a hidden directory":   {image.Entry{From: "app", To: "/tmp/app"}, word + "cannot be /tmp/app: PID 1 mounts a file system on /tmp, which would hide it"},
		"modules":              {image.Entry{From: "kv", To: "/lib/modules/6.1/x.ko"}, word + "cannot be /lib/modules/6.1/x.ko: --modules and --module put there what the kernel needs"},
		"a directory modules":  {image.Entry{From: "app", To: "/lib/modules"}, word + "cannot be /lib/modules/bin: --modules and --module put there what the kernel needs"},
		"settings":             {image.Entry{From: "etc"}, word + "cannot be /etc/xvsock.toml: --config puts it there, and checks it"},
		"a relative path":      {image.Entry{From: "kv", To: "bin/kv"}, word + `the path in the image, "bin/kv", does not begin with a slash`},
		"a name that is none":  {image.Entry{From: "."}, word + "it has no name for the image; use DIR/.:/PATH"},
		"a fifo":               {image.Entry{From: "pipe"}, "DIR/pipe/p is no ordinary file of at most 256 MiB"},
		"a link that goes out": {image.Entry{From: "out"}, word + "DIR/out/l is a link to ../../etc/passwd, which leads out of DIR/out; add what it stands for"},
		"a link to above":      {image.Entry{From: "up"}, word + "DIR/up/l is a link to .., which leads out of DIR/up; add what it stands for"},
		"a link to this host":  {image.Entry{From: "abs"}, word + "/abs/l is a link to /etc/passwd, which is not in the image; add that too"},
		"a NUL in a path":      {image.Entry{From: "kv", To: "/a\x00b"}, `not a path for an archive: "a\x00b"`},
		"the end of archives":  {image.Entry{From: "kv", To: "/TRAILER!!!"}, `not a path for an archive: "TRAILER!!!"`},
		"a path too long":      {image.Entry{From: "kv", To: "/" + strings.Repeat("a/", 2048) + "a"}, "not a path for an archive"},
	} {
		t.Run(name, func(t *testing.T) {
			o := inputs(t, nil)
			if name == "a name that is none" {
				test.entry.From = dir + "/."
				t.Chdir(dir)
				test.entry.From = "."
				test.want = strings.ReplaceAll(test.want, "DIR/.", ".")
			} else {
				test.entry.From = filepath.Join(dir, test.entry.From)
			}
			o.Add = []image.Entry{test.entry}
			_, err := image.Build(o)
			oneClearLine(t, err, strings.ReplaceAll(test.want, "DIR", dir))
			if _, err := os.Stat(o.Output); !errors.Is(err, os.ErrNotExist) {
				t.Error("a failed build left its output")
			}
		})
	}
	t.Run("the same twice", func(t *testing.T) {
		o := inputs(t, nil)
		o.Add = []image.Entry{{From: dir + "/kv"}, {From: dir + "/app/lib/data", To: "/kv"}}
		_, err := image.Build(o)
		oneClearLine(t, err, "add "+dir+"/app/lib/data: not in order: cannot be /kv: it is in the image already")
	})
	t.Run("the image itself", func(t *testing.T) {
		o := inputs(t, nil)
		built(t, o)
		o.Add = []image.Entry{{From: filepath.Dir(o.Output), To: "/p"}}
		_, err := image.Build(o)
		oneClearLine(t, err, "domain.cpio.gz is the image itself; write that elsewhere")
	})
}

func TestBuildWarnsOfProgramsThatCannotRun(t *testing.T) {
	dir := tree(t, map[string][]byte{
		"dynamic": dynamicProgram(), "arm": otherMachine(), "script": []byte("#! /bin/sh -e\n"), "data": dynamicProgram(),
		"lib/ld-linux-x86-64.so.2": program(), "text": []byte("text"),
	})
	for _, name := range []string{"dynamic", "arm", "script", "text", "lib/ld-linux-x86-64.so.2"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	o := inputs(t, nil)
	o.Add = []image.Entry{{From: dir + "/dynamic"}, {From: dir + "/arm"}, {From: dir + "/script"}, {From: dir + "/data"}, {From: dir + "/text"}}
	report, _ := built(t, o)
	var got []string
	for _, w := range report.Warnings {
		got = append(got, string(w.Level)+": "+w.String())
	}
	want := []string{
		"warning: /arm: it is for EM_AARCH64, not EM_X86_64; build it for Linux on x86-64 (Go: GOARCH=amd64)",
		`warning: /dynamic: it is linked dynamically, and its interpreter "/lib64/ld-linux-x86-64.so.2" is not in the image; ` +
			"link it statically (Go: CGO_ENABLED=0), or add that and its libraries",
		`warning: /script: its interpreter "/bin/sh" is not in the image; add that too`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	o.Add = []image.Entry{{From: dir + "/dynamic"}, {From: dir + "/lib", To: "/lib64"}}
	if report, _ = built(t, o); len(report.Warnings) > 0 {
		t.Errorf("with the interpreter there are warnings: %v", report.Warnings)
	}
}
