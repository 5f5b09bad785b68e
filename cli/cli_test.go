package cli_test

import (
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
		"help-bench":       {"bench", "--help"},
		"help-image":       {"image"},
		"help-image-build": {"image", "build", "--help"},
		"help-image-check": {"image", "check", "--help"},
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
		if r := run(t, arg); r.code != 0 || r.stdout != "xvsock version v1.2.3\n" {
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
		"status now then":                 `accepts at most 1 arg(s), received 2`,
		"backend now":                     `backend takes no argument such as "now"`,
		"backend --log loud":              `--log="loud": not one of debug, info, warn, error`,
		"backend --service ssh":           `--service="ssh": no service "ssh" is built in`,
		"domain --service \x1b[2J":        `binary data: byte 0x1b`,
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
		"image build -o x --format xml":   `--format "xml": use table or json`,
		"image build -o x --add a:b":      `add a: the path in the image, "b", does not begin with a slash`,
		"image build -o x --add :/b":      `no file named; use FILE or FILE:/PATH/IN/THE/IMAGE`,
		"image check":                     "accepts 1 arg",
		"image check a b":                 "accepts 1 arg",
		"image check a --format yaml":     `--format "yaml": use table or json`,
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
