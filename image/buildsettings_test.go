package image_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
	"xvsock/image"
)

func settingsTable() config.Table {
	return config.Settings([]config.Builtin{{Name: "discovery", Port: 2, Always: true, Fixed: true}, {Name: "echo", Port: 7}})
}

// withSettings gives options with a file of settings and a program at /kv.
func withSettings(t *testing.T, text string, set ...string) image.Options {
	t.Helper()
	o := inputs(t, nil)
	dir := tree(t, map[string][]byte{"my.toml": []byte(text), "kv": program(), "plain": program(), "dynamic": dynamicProgram()})
	for _, name := range []string{"kv", "dynamic"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if text != "" {
		o.ConfigFile = filepath.Join(dir, "my.toml")
	}
	o.Set, o.Settings = set, settingsTable()
	o.Add = []image.Entry{{From: dir + "/kv"}, {From: dir + "/plain"}, {From: dir + "/dynamic"}}
	return o
}

func TestSettings(t *testing.T) {
	const text = "# mine\nname = \"a\"\nservice = [\"kv:7000:exec:/kv -x\", \"echo\"]\nstrict = true\n"
	for name, test := range map[string]struct {
		text string
		set  []string
		want string
	}{
		"a file goes in as it is":      {text, nil, text},
		"an empty file goes in, too":   {"# nothing\n", nil, "# nothing\n"},
		"settings alone make the file": {"", []string{"service=kv:100:exec:/kv"}, "service = [\"kv:100:exec:/kv\"]\n"},
		"a key is replaced, a list gets more": {text, []string{"name=b", "service=two:7001:exec:/kv \"an argument\"", "xvsock.log=debug"},
			"log = \"debug\"\nname = \"b\"\n" +
				"service = [\"kv:7000:exec:/kv -x\", \"echo\", \"two:7001:exec:/kv \\\"an argument\\\"\"]\nstrict = \"true\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := built(t, withSettings(t, test.text, test.set...))
			text := content(t, got["etc/xvsock.toml"])
			if diff := cmp.Diff(test.want, text); diff != "" {
				t.Errorf("xvsock.toml (-want +got):\n%s", diff)
			}
			source, problems, err := config.Text("x", strings.NewReader(text))
			_, more := settingsTable().Resolve(source)
			if len(problems)+len(more) > 0 || err != nil {
				t.Errorf("it does not read back: %v, %v, %v", problems, more, err)
			}
		})
	}
}

func TestModulesOfTheSettingsAreTaken(t *testing.T) {
	for name, o := range map[string]image.Options{
		"from the file":      withSettings(t, "module = \"vhost-vsock\"\n"),
		"from --set":         withSettings(t, "", "module=vhost_vsock"),
		"from --set beside":  withSettings(t, "module = [\"vhost\"]\n", "module=vhost_vsock"),
		"named once more":    withSettings(t, "module = \"xen_evtchn\"\n", "module=vhost_vsock"),
		"built in ones too ": withSettings(t, "module = [\"xenfs\", \"vhost_vsock\"]\n"),
	} {
		report, got := built(t, o)
		if _, ok := got["lib/modules/"+release+"/kernel/vhost/vhost_vsock.ko"]; !ok || len(report.Modules) != 8 {
			t.Errorf("%s: modules are %v", name, report.Modules)
		}
	}
}

func TestSettingsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		text  string
		set   []string
		lines []string // FILE stands for the file
	}{
		"an unknown key":  {"nmae = \"a\"\n", nil, []string{`FILE:1: nmae="a": unknown key; did you mean name?`}},
		"a key twice":     {"name = \"a\"\nname = \"b\"\n", nil, []string{`FILE:2: Key 'name' has already been defined.; nothing of it is taken`}},
		"no TOML":         {"name = \n", nil, []string{"FILE:1: "}},
		"several at once": {"log = \"loud\"\nmode = \"both\"\n", []string{"name=-"}, []string{`FILE:1: log="loud": `, `FILE:2: mode="both": `, `--set: name="-": `}},
		"a setting that is set twice": {"", []string{"name=a", "name=b"},
			[]string{`--set: name="b": given more than once; this one counts`}},
		"a setting without a value": {"", []string{"name"}, []string{`--set: name="": `}},
		"an unknown setting":        {"", []string{"serivce=echo"}, []string{`--set: serivce="echo": unknown key; did you mean service?`}},
		"a port that is taken in the file": {"service = \"kv:100:exec:/kv\"\n", []string{"service=two:100:exec:/kv"},
			[]string{`/etc/xvsock.toml: service="two:100:exec:/kv": port 100 is taken by kv; give it another port`}},
		"a port of ours": {"", []string{"service=kv:2:exec:/kv"}, []string{`--set: service="kv:2:exec:/kv": port 2 is kept for discovery`}},
	} {
		t.Run(name, func(t *testing.T) {
			o := withSettings(t, test.text, test.set...)
			_, err := image.Build(o)
			oneClearLine(t, err, "build image: settings: ")
			var settings *image.SettingsError
			if !errors.As(err, &settings) || len(settings.Problems) != len(test.lines) {
				t.Fatalf("Build = %v, want %d problems", err, len(test.lines))
			}
			for i, p := range settings.Problems {
				if want := strings.ReplaceAll(test.lines[i], "FILE", o.ConfigFile); !strings.HasPrefix(p.String(), want) {
					t.Errorf("problem %d is %s\nwant %s", i, p, want)
				}
			}
		})
	}
	t.Run("a file that is not there", func(t *testing.T) {
		o := withSettings(t, "")
		o.ConfigFile = "/nothing/x.toml"
		_, err := image.Build(o)
		oneClearLine(t, err, "build image: read settings: stat /nothing/x.toml: no such file")
	})
	t.Run("a module without a directory", func(t *testing.T) {
		o := withSettings(t, "", "module=vhost")
		o.ModulesDir = ""
		_, err := image.Build(o)
		oneClearLine(t, err, "build image: modules vhost wanted, but no modules directory named")
	})
}

func TestServicesNeedTheirPrograms(t *testing.T) {
	for spec, want := range map[string]string{
		"service=a:100:exec:/gone":           "/gone: service a runs it, but it is not in the image; add it with --add FILE:/gone",
		"service=a:100:exec-once:/kv/gone x": "/kv/gone: service a runs it, but it is not in the image; add it with --add FILE:/kv/gone",
		"service=a:100:exec:/plain":          "/plain: service a runs it, but it is not executable; chmod +x it before it is added",
		"service=a:100:exec:/etc":            "/etc: service a runs it, but it is no file; add it with --add FILE:/etc",
		"service=a:100:exec:/tmp/kv":         "/tmp/kv: service a runs it, but PID 1 mounts a file system on /tmp; put it elsewhere",
		"service=a:100:exec:/dynamic": `/dynamic: service a runs it, but it is linked dynamically, and its interpreter ` +
			`"/lib64/ld-linux-x86-64.so.2" is not in the image; link it statically`,
		"policy=/etc/policy.d": "/etc/policy.d: the policy is to come from it, but there is no such directory; add it with --add DIR:/etc/policy.d",
	} {
		_, err := image.Build(withSettings(t, "", spec))
		oneClearLine(t, err, "build image: not in order: "+want)
		if !errors.Is(err, image.ErrPayload) {
			t.Errorf("%s: Build = %v, want ErrPayload", spec, err)
		}
	}
	report, _ := built(t, withSettings(t, "", "service=a:100:exec:/kv x", "service=f:101:forward:unix:/run/s", "panic=shell"))
	if len(report.Warnings) != 2 || !strings.HasPrefix(report.Warnings[0].String(), "/bin/sh: panic=shell needs it, or /bin/busybox") {
		t.Errorf("warnings: %v", report.Warnings)
	}
}
