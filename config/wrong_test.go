package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"xvsock/config"
)

func TestWrongSettingsAreSaidAndLeftOut(t *testing.T) {
	const known = "known are xvsock.mode, xvsock.name, xvsock.service, xvsock.policy, xvsock.budget, xvsock.poll, xvsock.bridge, xvsock.bridge-deny, xvsock.door-mode, xvsock.door-group, xvsock.module, " +
		"xvsock.log, xvsock.panic, xvsock.strict"
	label := "a label is 1 to 63 letters, digits, dots, hyphens or underscores, the first a letter or digit; the domain has no label"
	module := "the name of a module is 1 to 55 letters, digits, hyphens or underscores; write the name alone, as modprobe takes it"
	for _, tt := range []struct{ name, line, want string }{
		{"a slip in a key", "xvsock.mod=backend", `xvsock.mod="backend": unknown key; did you mean xvsock.mode?`},
		{"capitals in a key", "XVSOCK.Mode=backend", `XVSOCK.Mode="backend": unknown key; did you mean xvsock.mode?`},
		{"a key like no other", "xvsock.frobnicate=1", `xvsock.frobnicate="1": unknown key; ` + known},
		{"an underscore for the dot", "xvsock_service=echo", `xvsock_service="echo": unknown key; did you mean xvsock.service?`},
		{"a hyphen for the dot", "Xvsock-mdoe=backend", `Xvsock-mdoe="backend": unknown key; did you mean xvsock.mode?`},
		{"nothing for the dot", "xvsocklog=debug", `xvsocklog="debug": unknown key; did you mean xvsock.log?`},
		{"two marks for the dot", "xvsock._strict", `xvsock._strict="": unknown key; did you mean xvsock.strict?`},
		{"the prefix alone", "xvsock=1", `xvsock="1": unknown key; ` + known},
		{"the prefix without a value", "xvsock", `xvsock="": unknown key; ` + known},
		{"no key at all", "xvsock.=1", `xvsock.="1": unknown key; ` + known},
		{"a slip in a word", "xvsock.mode=Backend", `xvsock.mode="Backend": not one of frontend, backend; did you mean backend?`},
		{"another word", "xvsock.log=loud", `xvsock.log="loud": not one of debug, info, warn, error; the default is info`},
		{"no value", "xvsock.panic", `xvsock.panic="": not one of reboot, halt, shell; the default is reboot`},
		{"strict is no yes", "xvsock.strict=yes", `xvsock.strict="yes": not one of 0, 1, true, false; the default is 0`},
		{"a policy by a relative path", "xvsock.policy=rules", `xvsock.policy="rules": neither xenstore nor the path of a directory; the default is xenstore`},
		{"a value of two quotes", `xvsock.name=""`, `xvsock.name="": ` + label},
		{"a label that is too long", "xvsock.name=" + strings.Repeat("x", 64), `xvsock.name="` + strings.Repeat("x", 64) + `": ` + label},
		{"a label that hides a name", "xvsock.name=../x", `xvsock.name="../x": ` + label},
		{"an escape", "xvsock.name=a\x1b[2J", `xvsock.name="a\x1b[2J": binary data: byte 0x1b`},
		{"a DEL", "xvsock.policy=/a\x7f", `xvsock.policy="/a\x7f": binary data: byte 0x7f`},
		{"bytes that are no text", "xvsock.name=a\xff", `xvsock.name="a\xff": binary data`},
		{"a value of kilobytes", "xvsock.name=" + strings.Repeat("x", 2049),
			`xvsock.name="` + strings.Repeat("x", 80) + `"...: 2049 bytes long, 2048 are allowed`},

		{"a budget that is none", "xvsock.budget=rqeuests=5",
			`xvsock.budget="rqeuests=5": unknown budget "rqeuests"; did you mean requests?`},
		{"a budget like no other", "xvsock.budget=5",
			`xvsock.budget="5": unknown budget "5"; budgets are requests, burst, half-open, links, connections, registrations`},
		{"a budget without a number", "xvsock.budget=links", `xvsock.budget="links": budget links has no number; write links=N`},
		{"a budget of nothing", "xvsock.budget=links=0", `xvsock.budget="links=0": links 0 is out of range; it is a number from 1 to 256`},
		{"a budget of too much", "xvsock.budget=links=257", `xvsock.budget="links=257": links 257 is out of range; it is a number from 1 to 256`},
		{"a budget by a word", "xvsock.budget=links=few", `xvsock.budget="links=few": links "few" is not a number; it is a number from 1 to 256`},
		{"a module by its path", "xvsock.module=/lib/loop.ko", `xvsock.module="/lib/loop.ko": ` + module},
		{"no module", "xvsock.module=", `xvsock.module="": ` + module},
		{"an option of modprobe", "xvsock.module=-r", `xvsock.module="-r": ` + module},
	} {
		t.Run(tt.name, func(t *testing.T) { checkWrong(t, tt.line, tt.want) })
	}
}

// checkWrong checks that a line changes nothing and gives one problem.
func checkWrong(t *testing.T, line, want string) {
	t.Helper()
	got, problems := resolve(t, "quiet "+line)
	// A long line is another problem, for which there is another test.
	for len(problems) > 0 && strings.Contains(problems[0], "possibly cut") {
		problems = problems[1:]
	}
	if d := diff(defaults(), got); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	if diff := cmp.Diff([]string{"command line: " + want}, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestWrongServicesAreSaidAndLeftOut(t *testing.T) {
	const all = "built in are discovery, health, control, metrics, log, echo, bench, clock, zone; a program is NAME:PORT:exec:/path"
	const ports, form = "use one from 1024 up", "write unix:/path or tcp:HOST:PORT"
	long := "/" + strings.Repeat("x", 107)
	for _, tt := range []struct{ name, spec, want string }{
		{"no service", "", `no service "" is built in; ` + all},
		{"a service that is not there", "ecco:7", `no service "ecco" is built in; did you mean echo?`},
		{"a program without its kind", "db:7000", `no service "db" is built in; ` + all},
		{"a port that is no number", "echo:seven", `port "seven" is not a number; its well-known port is 7`},
		{"a port with a sign", "echo:+7", `port "+7" is not a number; its well-known port is 7`},
		{"a port with a zero before it", "echo:07", `port "07" is not a number; its well-known port is 7`},
		{"no port after the colon", "echo:", `port "" is not a number; its well-known port is 7`},
		{"port 0", "echo:0", `port 0 is reserved; its well-known port is 7`},
		{"the manager's port", "echo:1", `port 1 is reserved; its well-known port is 7`},
		{"a port for outgoing connections", "clock:3221225472",
			`port 3221225472 is kept for outgoing connections, as all from 3221225472 up; its well-known port is 1000`},
		{"a port above all", "echo:4294967296", `port "4294967296" is out of range; its well-known port is 7`},
		{"a built-in service on the port of another", "clock:2", `port 2 is kept for discovery; its well-known port is 1000`},
		{"a name that stands for its port", "discovery:9", `discovery cannot be on port 9; its well-known port is 2`},
		{"a second time on another port", "zone:2000", `zone is there already, on port 1001; give this one another name`},

		{"a bad name", "Kv_1:7000:exec:/kv", `bad service name: "Kv_1" has other than a-z, 0-9 and -; use 1 to 15 of a-z, 0-9 and -`},
		{"no name", ":7000:exec:/kv", `bad service name: 0 bytes, 1 to 15 are allowed; use 1 to 15 of a-z, 0-9 and -`},
		{"a name outside of ASCII", "kä:7000:exec:/kv", `bad service name: "k?" has other than a-z, 0-9 and -; use 1 to 15 of a-z, 0-9 and -`},
		{"the name of a built-in service", "echo:7000:exec:/kv", `echo is the name of a service that is built in; give this one another name`},
		{"the manager's name", "manager:7000:exec:/kv", `manager is the name of a service that is built in; give this one another name`},
		{"a program on port 0", "kv:0:exec:/kv", `port 0 is reserved; ` + ports},
		{"a program on the manager's port", "kv:1:exec:/kv", `port 1 is reserved; ` + ports},
		{"a program on a built-in service's port", "kv:7:exec:/kv", `port 7 is kept for echo; ` + ports},
		{"a program on a custom service's port", "kv:1000:exec:/kv", `port 1000 is kept for clock; ` + ports},
		{"a program on no port", "kv::exec:/kv", `port "" is not a number; ` + ports},
		{"a program on a port by name", "kv:ssh:exec:/kv", `port "ssh" is not a number; ` + ports},
		{"a program on a port out of range", "kv:99999999999:exec:/kv", `port "99999999999" is out of range; ` + ports},
		{"a program on a port for outgoing connections", "kv:4294967295:exec:/kv",
			`port 4294967295 is kept for outgoing connections, as all from 3221225472 up; ` + ports},

		{"a kind that is none", "kv:7000:exce:/kv", `unknown kind "exce"; did you mean exec?`},
		{"a kind like no other", "kv:7000:listen:/kv", `unknown kind "listen"; kinds are exec, exec-once, forward`},
		{"no kind", "kv:7000:", `unknown kind ""; kinds are exec, exec-once, forward`},
		{"a path where the kind should be", "kv:7000:/kv", `unknown kind "/kv"; kinds are exec, exec-once, forward`},
		{"no program", "kv:7000:exec", `no program is given; write kv:7000:exec:/path`},
		{"no program after the colon", "kv:7000:exec-once:", `no program is given; write kv:7000:exec-once:/path`},
		{"blanks for a program", "kv:7000:exec:  ", `no program is given; write kv:7000:exec:/path`},
		{"a program by a relative path", "kv:7000:exec:bin/kv -v", `program "bin/kv" is no absolute path; begin its path with /`},
		{"a directory for a program", "kv:7000:exec:/bin/", `program "/bin/" is a directory; name the program in it`},

		{"an option that is none", "kv:7000:exec,maxx=3:/kv", `unknown option "maxx"; did you mean max?`},
		{"an option like no other", "kv:7000:exec,nice=3:/kv", `unknown option "nice"; options are max, per-domain, uid, gid`},
		{"an option of another kind", "kv:7000:forward,uid=3:unix:/kv", `option uid is for programs; leave it out`},
		{"an option like no other of this kind", "kv:7000:forward,nice=3:unix:/kv", `unknown option "nice"; options are max, per-domain`},
		{"an empty option", "kv:7000:exec,:/kv", `an option is empty; options are max, per-domain, uid, gid`},
		{"an option without a number", "kv:7000:exec,max:/kv", `option max has no number; write max=N`},
		{"an option by a word", "kv:7000:exec,max=many:/kv", `max "many" is not a number; it is a number from 1 to 1024`},
		{"an option with a sign", "kv:7000:exec,uid=-1:/kv", `uid "-1" is not a number; it is a number from 0 to 4294967294`},
		{"an option of nothing", "kv:7000:exec,max=0:/kv", `max 0 is out of range; it is a number from 1 to 1024`},
		{"an option of too much", "kv:7000:exec,max=1025:/kv", `max 1025 is out of range; it is a number from 1 to 1024`},
		{"the user that is nobody's", "kv:7000:exec,uid=4294967295:/kv", `uid 4294967295 is out of range; it is a number from 0 to 4294967294`},
		{"more of one domain than of all", "kv:7000:exec,max=4,per-domain=5:/kv", `per-domain=5 is more than max=4; it is part of it`},
		{"more of one domain than of all by default", "kv:7000:exec,per-domain=65:/kv", `per-domain=65 is more than max=64; it is part of it`},
		{"an option twice", "kv:7000:exec,max=4,max=5:/kv", `option max is given twice; give it once`},

		{"nowhere to forward to", "db:7000:forward", `no address is given to forward to; ` + form},
		{"a network that is none", "db:7000:forward:udp:127.0.0.1:53", `unknown network "udp"; ` + form},
		{"a path without its network", "db:7000:forward:/run/db", `unknown network "/run/db"; ` + form},
		{"a unix socket without a path", "db:7000:forward:unix:", `no path of a socket is given; write unix:/path`},
		{"a unix socket by a relative path", "db:7000:forward:unix:db", `socket "db" is no absolute path; begin it with /`},
		{"a unix socket with a path that is too long", "db:7000:forward:unix:" + long,
			`the path of the socket has 108 bytes, 107 are allowed; use a shorter one`},
		{"a tcp address that is empty", "db:7000:forward:tcp:", `no address is given to forward to; write tcp:HOST:PORT`},
		{"a tcp address without a port", "db:7000:forward:tcp:localhost", `address "localhost": missing port in address; write tcp:HOST:PORT`},
		{"a tcp address with an empty port", "db:7000:forward:tcp:localhost:", `tcp port "" is not a number; it is a number from 1 to 65535`},
		{"a tcp address with a port by name", "db:7000:forward:tcp:localhost:http", `tcp port "http" is not a number; it is a number from 1 to 65535`},
		{"a tcp address with port 0", "db:7000:forward:tcp:localhost:0", `tcp port 0 is out of range; it is a number from 1 to 65535`},
		{"a tcp address with a port out of range", "db:7000:forward:tcp:localhost:65536", `tcp port 65536 is out of range; it is a number from 1 to 65535`},
		{"a tcp address without a host", "db:7000:forward:tcp::80", `host "" is neither a name nor an IP address; write tcp:HOST:PORT`},
		{"a tcp address with too many colons", "db:7000:forward:tcp:::1:80", `address "::1:80": too many colons in address; write tcp:HOST:PORT`},
		{"a tcp host with a blank", "db:7000:forward:tcp:a b:80", `host "a b" is neither a name nor an IP address; write tcp:HOST:PORT`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shown := fmt.Sprintf("%+q", tt.spec)
			if len(tt.spec) > 80 {
				shown = fmt.Sprintf("%+q...", tt.spec[:80])
			}
			checkWrong(t, `xvsock.service="`+tt.spec+`"`, "xvsock.service="+shown+": "+tt.want)
		})
	}
}

func TestQuotesThatDoNotMatch(t *testing.T) {
	// The kernel takes quotes for its own, so this comes from another source.
	_, problems := table().Resolve(setting("service", `kv:7000:exec:/kv "a b`))
	want := []string{`test: service="kv:7000:exec:/kv \"a b": a double quote is not closed; quotes come in pairs, and nothing takes away their meaning`}
	if diff := cmp.Diff(want, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// The ports of what every build has are nobody else's, whatever the table knows.
func TestWellKnownPortsAreKept(t *testing.T) {
	_, problems := config.Settings(nil).Resolve(setting("service", "kv:3:exec:/kv"))
	want := []string{`test: service="kv:3:exec:/kv": port 3 is kept for health; use one from 1024 up`}
	if diff := cmp.Diff(want, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestServicesThatAreInEachOthersWay(t *testing.T) {
	for _, tt := range []struct{ name, line, want string }{
		{"a port twice", "xvsock.service=a:7000:exec:/a xvsock.service=b:7000:exec:/b",
			`xvsock.service="b:7000:exec:/b": port 7000 is taken by a; give it another port`},
		{"a name twice", "xvsock.service=a:7000:exec:/a xvsock.service=a:7001:exec:/b",
			`xvsock.service="a:7001:exec:/b": a is there already, on port 7000; give this one another name`},
		{"a spec twice", "xvsock.service=a:7000:exec:/a xvsock.service=a:7000:exec:/a",
			`xvsock.service="a:7000:exec:/a": a is there already, on port 7000; give this one another name`},
		{"a port taken by a built-in service", "xvsock.service=clock:7000 xvsock.service=a:7000:exec:/a",
			`xvsock.service="a:7000:exec:/a": port 7000 is taken by clock; give it another port`},
		{"a built-in service on two ports", "xvsock.service=clock xvsock.service=clock:7000",
			`xvsock.service="clock:7000": clock is there already, on port 1000; give this one another name`},
		{"a budget twice", "xvsock.budget=links=5 xvsock.budget=links=6",
			`xvsock.budget="links=6": budget links is given twice; 5 counts`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, problems := resolve(t, tt.line)
			if diff := cmp.Diff([]string{"command line: " + tt.want}, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if len(c.Services)+len(c.Budgets) != len(defaults().Services)+1 {
				t.Errorf("config = %+v; want the first of the two", c)
			}
		})
	}
}
