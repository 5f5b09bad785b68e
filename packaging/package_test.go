package packaging_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"xvsock/cli"
)

func TestTheVersionIsWhatGitSaysInDebiansOrder(t *testing.T) {
	for describe, want := range map[string]string{
		"v1.2.3":                version[:5],
		"v1.2.3-4-gabcdef0":     version,
		"v1.2.3-dirty":          "1.2.3+dirty",
		"v2.0-rc1-3-gdead":      "2.0~rc1+3.gdead",
		"1.0":                   "1.0",
		"5c8cd80":               "0~git20231114.221320.5c8cd80",
		"b5c8cd8-dirty":         "0~git20231114.221320.b5c8cd8+dirty",
		"unreleased":            "0~git20231114.221320.unreleased",
		"v1.0;reboot $(x)/../y": "1.0.reboot...x.....y",
	} {
		cmd := exec.Command("./deb-version", describe)
		cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1700000000")
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q becomes %q (%v), want %q", describe, got, err, want)
		}
	}
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg here")
	}
	order := []string{"0~git20231114.221320.5c8cd80", "0~git20240101.000000.1c8cd80", "1.0~rc1+3.gdead", "1.0", "1.0+3.gdead", "1.0.1"}
	for i := range order[1:] {
		if err := exec.Command("dpkg", "--compare-versions", order[i], "lt", order[i+1]).Run(); err != nil {
			t.Errorf("%s is not before %s", order[i], order[i+1])
		}
	}
}

func TestTheSameInputsGiveTheSameBytes(t *testing.T) {
	first, err := os.ReadFile(debFile(t))
	if err != nil {
		t.Fatal(err)
	}
	again, err := makeDeb(filepath.Join(made.dir, "xvsock"), t.TempDir(), "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "TMPDIR="+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two packages of the same binary differ")
	}
	if want := "xvsock_" + version + "_amd64.deb"; filepath.Base(again) != want {
		t.Errorf("the package is %s, want %s", filepath.Base(again), want)
	}
}

func TestTheControlFileSaysWhatItIs(t *testing.T) {
	for field, want := range map[string]string{
		"Package": "xvsock", "Version": version, "Architecture": "amd64", "Section": "admin", "Priority": "optional",
		"Maintainer": "A B <a@b.example>", "Depends": "",
	} {
		out, err := exec.Command("dpkg-deb", "--field", debFile(t), field).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", field, got, err, want)
		}
	}
}

func TestEverythingIsRootsAndReadable(t *testing.T) {
	for name, f := range contents(t) {
		want := int64(0o644)
		if f.Typeflag == tar.TypeDir || name == "/usr/bin/xvsock" || strings.HasPrefix(name, "/usr/libexec/") {
			want = 0o755
		}
		if f.Mode != want || f.Uid != 0 || f.Gid != 0 || f.ModTime.Unix() != epoch {
			t.Errorf("%s: mode %o of %d:%d, time %v", name, f.Mode, f.Uid, f.Gid, f.ModTime)
		}
		if f.Typeflag != tar.TypeDir && f.Typeflag != tar.TypeReg {
			t.Errorf("%s: is no file and no directory", name)
		}
	}
}

func TestSettingsAreConffilesAndAllElseHasASum(t *testing.T) {
	control := controls(t)
	conffiles := strings.Fields(string(control["/conffiles"].data))
	sums := make(map[string]string)
	for line := range strings.Lines(string(control["/md5sums"].data)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums["/"+name] = sum
	}
	for name, f := range contents(t) {
		if f.Typeflag != tar.TypeReg {
			continue
		}
		setting := strings.HasPrefix(name, "/etc/")
		if setting != slices.Contains(conffiles, name) {
			t.Errorf("%s: conffile is %v", name, !setting)
		}
		sum := md5.Sum(f.data)
		if want := hex.EncodeToString(sum[:]); !setting && sums[name] != want {
			t.Errorf("%s: sum %q, want %s", name, sums[name], want)
		}
	}
}

func TestThePackageHasThisInIt(t *testing.T) {
	var got []string
	for name, f := range contents(t) {
		if f.Typeflag == tar.TypeReg && !strings.HasPrefix(name, "/usr/share/man/") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{
		"/etc/modprobe.d/xvsock.conf", "/etc/xvsock.toml", "/etc/xvsock/policy.d/50-example.policy", "/etc/xvsock/policy.d/README",
		"/usr/bin/xvsock",
		"/usr/lib/modules-load.d/xvsock.conf", "/usr/lib/systemd/system/xvsock-attach.service",
		"/usr/lib/systemd/system/xvsock-backend.service", "/usr/lib/systemd/system/xvsock-domain.service",
		"/usr/lib/sysusers.d/xvsock.conf", "/usr/libexec/xvsock/end-leftovers",
		"/usr/share/bash-completion/completions/xvsock", "/usr/share/doc/xvsock/README.Debian",
		"/usr/share/doc/xvsock/changelog.gz", "/usr/share/doc/xvsock/copyright",
		"/usr/share/doc/xvsock/examples/policy/10-base.policy", "/usr/share/doc/xvsock/examples/policy/domains.toml",
		"/usr/share/doc/xvsock/examples/policy/expectations.test",
		"/usr/share/fish/vendor_completions.d/xvsock.fish", "/usr/share/zsh/vendor-completions/_xvsock",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files but for manual pages (-want +got):\n%s", diff)
	}
}

func TestEveryCommandHasAPage(t *testing.T) {
	files := contents(t)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		name := "/usr/share/man/man8/" + strings.ReplaceAll(c.CommandPath(), " ", "-") + ".8.gz"
		in, err := gzip.NewReader(bytes.NewReader(files[name].data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if in.Name != "" || !in.ModTime.IsZero() {
			t.Errorf("%s: has a name or a time in it", name)
		}
		var page bytes.Buffer
		if _, err := page.ReadFrom(in); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := `"8" "Nov 2023" "xvsock ` + version + `"`; !strings.Contains(page.String(), want) {
			t.Errorf("%s: begins with %.200q", name, page.String())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(cli.Command(version))
}

func TestTheLicencesOfWhatIsLinkedGoWithIt(t *testing.T) {
	text := read(t, "/usr/share/doc/xvsock/copyright")
	for _, module := range []string{"The Go library", "github.com/spf13/cobra", "golang.org/x/sys", "github.com/coreos/go-systemd/v22"} {
		if !strings.Contains(text, module+", ") {
			t.Errorf("nothing of %s", module)
		}
	}
	if strings.Contains(text, "go-md2man") {
		t.Error("the program that makes the pages is in the binary")
	}
}

func TestTheScriptsAreScripts(t *testing.T) {
	for _, name := range []string{"/postinst", "/prerm", "/postrm"} {
		f := controls(t)[name]
		if f.Header == nil || f.Mode != 0o755 {
			t.Errorf("%s: mode %o", name, f.Mode)
		}
		syntax(t, "sh", name, f.data)
	}
	syntax(t, "sh", "end-leftovers", []byte(read(t, "/usr/libexec/xvsock/end-leftovers")))
	syntax(t, "bash", "completion", []byte(read(t, "/usr/share/bash-completion/completions/xvsock")))
	syntax(t, "zsh", "completion", []byte(read(t, "/usr/share/zsh/vendor-completions/_xvsock")))
	syntax(t, "fish", "completion", []byte(read(t, "/usr/share/fish/vendor_completions.d/xvsock.fish")))
}

// syntax has a shell read a script, where there is that shell.
func syntax(t *testing.T, shell, name string, script []byte) {
	t.Helper()
	program, err := exec.LookPath(shell)
	if err != nil {
		return
	}
	cmd := exec.Command(program, "-n")
	cmd.Stdin = bytes.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
}
