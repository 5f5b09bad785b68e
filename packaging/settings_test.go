package packaging_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"xvsock/config"
	"xvsock/daemon"
	"xvsock/manager/policy"
)

// uncommented takes the comment sign off those lines that show a setting, which have
// no blank after it.
func uncommented(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && rest[0] != ' ' && rest[0] != '\n' {
			line = rest
		}
		out.WriteString(line)
	}
	return out.String()
}

func TestTheExamplePolicyAllowsNothingUntilItIsWritten(t *testing.T) {
	text := read(t, "/etc/xvsock/policy.d/50-example.policy")
	for _, c := range []struct {
		text  string
		rules int
	}{{text, 0}, {uncommented(text), 4}} {
		set, err := policy.Parse([]policy.File{{Name: "50-example.policy", Text: c.text}})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(set.Rules()); n != c.rules {
			t.Errorf("%d rules, want %d", n, c.rules)
		}
	}
}

func TestTheExampleSettingsSetNothingUntilTheyAreWritten(t *testing.T) {
	text := read(t, "/etc/xvsock.toml")
	table := config.Settings(daemon.Known(daemon.Builtin()))
	for _, c := range []struct {
		text     string
		settings int
	}{{text, 0}, {uncommented(text), 13}} {
		source, problems, err := config.Text("/etc/xvsock.toml", strings.NewReader(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(source.Settings); n != c.settings {
			t.Errorf("%d settings, want %d", n, c.settings)
		}
		_, wrong := table.Resolve(source)
		for _, p := range append(problems, wrong...) {
			t.Error(p)
		}
	}
}

// unit gives the settings of a unit, a list for each key.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for line := range strings.Lines(read(t, "/usr/lib/systemd/system/"+name)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && key[0] != '#' {
			all[key] = append(all[key], value)
		}
	}
	return all
}

func TestTheDaemonsUnitsLetKeepersLive(t *testing.T) {
	for _, daemon := range []string{"domain", "backend"} {
		u := unit(t, "xvsock-"+daemon+".service")
		for key, want := range map[string]string{
			"Type": "notify", "ExecStart": "/usr/bin/xvsock " + daemon, "KillMode": "process", "OOMPolicy": "continue", "ManagedOOMPreference": "omit", "ExecStopPost": "-/usr/libexec/xvsock/end-leftovers", "Restart": "on-failure",
			"RuntimeDirectoryPreserve": "yes", "MemoryDenyWriteExecute": "", "WantedBy": "multi-user.target",
		} {
			if got := strings.Join(u[key], " "); got != want {
				t.Errorf("%s: %s=%s, want %q", daemon, key, got, want)
			}
		}
	}
}

func TestSystemdTakesTheUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	root := t.TempDir()
	if out, err := exec.Command("dpkg-deb", "-x", debFile(t), root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	units := filepath.Join(root, "usr/lib/systemd/system")
	// What the units name of systemd's own.
	for _, name := range []string{"sysinit.target", "basic.target", "shutdown.target", "multi-user.target", "system.slice", "-.slice"} {
		if err := os.WriteFile(filepath.Join(units, name), []byte("[Unit]\nDefaultDependencies=no\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// exposure is the most, in tenths, that `systemd-analyze security` may find.
	for name, exposure := range map[string]int{"domain": 75, "backend": 75, "attach": 20} {
		name = "xvsock-" + name + ".service"
		out, err := exec.Command(analyze, "verify", "--man=no", "--root="+root, name).CombinedOutput()
		if err != nil || strings.Contains(string(out), name) {
			t.Errorf("verify %s: %v\n%s", name, err, out)
		}
		out, err = exec.Command(analyze, "security", "--no-pager", "--offline=true", "--root="+root,
			fmt.Sprintf("--threshold=%d", exposure), name).CombinedOutput()
		if err != nil {
			t.Errorf("security of %s: %v\n%s", name, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
	}
}
