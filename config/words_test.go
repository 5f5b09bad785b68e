package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
)

func TestAQuoteThatIsNotClosedIsSaid(t *testing.T) {
	const rest = " on is one word; quotes come in pairs, around a value or a whole word"
	for _, tt := range []struct{ line, want string }{
		{`xvsock.name="`, `"xvsock.name"`},
		{`"xvsock.name=a`, `"xvsock.name"`},
		{`quiet "`, `""`},
		{`foo="a b xvsock.mode=backend`, `"foo"`},
		{`xvsock.service="kv:7000:exec:/kv -m x quiet`, `"xvsock.service"`},
		{`xvsock.service=kv:7000:exec:/kv" -x`, `"xvsock.service"`},
		{`xvsock.service="kv:7000:exec:/kv -x"`, ""},
		{`"xvsock.service=kv:7000:exec:/kv -x " foo="a b" ""`, ""},
	} {
		_, problems, err := config.CommandLine(strings.NewReader(tt.line), "PVH\n")
		var want []string
		if tt.want != "" {
			want = []string{"command line: a double quote is not closed, so that all from " + tt.want + rest}
		}
		if diff := cmp.Diff(want, texts(problems)); diff != "" || err != nil {
			t.Errorf("%s: %v, problems (-want +got):\n%s", tt.line, err, diff)
		}
	}
}

func TestArgumentsThatAreNotQuotedAreSaid(t *testing.T) {
	const exec, once = "xvsock.service=kv:7000:exec:/kv", "xvsock.service=log:7001:exec-once,max=3:/log"
	stray := func(spec, word string) string {
		_, value, _ := strings.Cut(spec, "=")
		return `command line: xvsock.service="` + value + `": "` + word + `" behind it is none of its arguments, because a blank ends a word; ` +
			`not quoted? write ` + "xvsock.service=\"" + value + " " + word + ` ..."`
	}
	for name, tt := range map[string]struct {
		line string
		want []string
	}{
		"an option":                        {exec + " -dir /data --verbose", []string{stray(exec, "-dir")}},
		"a long option of exec-once":       {once + " --verbose", []string{stray(once, "--verbose")}},
		"an option with a value":           {exec + " -dir=/data", []string{stray(exec, "-dir")}},
		"a path":                           {exec + " /data", []string{stray(exec, "/data")}},
		"words in quotes":                  {exec + ` "a b"`, []string{stray(exec, "a b")}},
		"behind words of the kernel":       {exec + " quiet xvsock.log=debug root=/dev/xvda -x", []string{stray(exec, "-x")}},
		"behind a lone --":                 {exec + " -- -x", []string{stray(exec, "-x")}},
		"behind one that is quoted":        {exec + ` "` + once + ` -a" -x`, []string{stray(exec, "-x")}},
		"of two services":                  {exec + " -x " + once + " -y -z", []string{stray(exec, "-x"), stray(once, "-y")}},
		"words of the kernel":              {exec + ` console=hvc0 quiet ro panic=-1 root=/dev/xvda foo="-a b" dyndbg="file x +p" -- single`, nil},
		"the value in quotes":              {`xvsock.service="kv:7000:exec:/kv -dir /data" -x`, nil},
		"the whole word in quotes":         {`"` + exec + `" -x`, nil},
		"before the service":               {"-x /boot/vmlinuz " + exec, nil},
		"a service that takes no argument": {"xvsock.service=db:7000:forward:unix:/db xvsock.service=echo -x", nil},
	} {
		_, problems, err := config.CommandLine(strings.NewReader(tt.line), "PVH\n")
		if diff := cmp.Diff(tt.want, texts(problems)); diff != "" || err != nil {
			t.Errorf("%s: %v, problems (-want +got):\n%s", name, err, diff)
		}
	}
}
