package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/varlink"
)

const evil = "\x1b]0;own\x07\u202e\u009b\U000e0041\n\t\"x\\"

// host is what a backend's daemon could answer, with a domain whose names are
// meant to harm the terminal.
func host() varlink.Methods {
	records := []discovery.Record{
		{Domain: "db", UUID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", Name: "echo", Port: 7, State: services.Serving, CID: 3},
		{Domain: evil, Name: "web", Port: 8080, State: services.NotServing, CID: 4, Txt: map[string]string{"path": evil}},
	}
	return varlink.Methods{
		daemon.MethodServices: answer(daemon.ServicesReply{Services: records}),
		daemon.MethodResolve:  answer(daemon.ResolveReply{Service: records[0]}),
		daemon.MethodPing:     answer(daemon.PingReply{Bytes: 64, Seconds: 0.0012345}),
		daemon.MethodStatus: answer(daemon.Status{
			Role: "backend", Name: evil, Version: "v9", Uptime: 3725.5, Goroutines: 40, Watches: 4,
			Links: []daemon.Link{
				{
					Domain: 3, Name: "db", UUID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", Up: true, Connections: 2, Pages: 1,
					Kind: "frontend", State: "up", Tags: []string{"store"},
					Links: []daemon.PeerLink{{Domain: 4, Name: evil, Generation: "00000000000000aa"}, {Domain: 5, Generation: "00000000000000bb"}},
					Use:   &daemon.Use{Requests: 99, HalfOpen: 1, Links: 2, Unconfirmed: 1, Denied: 7, Late: 1, Delayed: 3},
				},
				{Domain: 4, Name: evil, Kind: "frontend", State: "down", Twin: true},
			},
			Policy: &daemon.PolicyState{
				Source: "/etc/xvsock/policy.d", Version: "0123456789ab", Rules: 4, Unconfirmed: 1,
				Error: "10-" + evil + ".policy:3: no action",
			},
			Budgets: &daemon.Budgets{Requests: 50, Burst: 100, HalfOpen: 16, Links: 64, Connections: 1024, Registrations: 8},
		}),
	}
}

// guest is what a frontend's daemon could answer.
func guest() varlink.Methods {
	return varlink.Methods{daemon.MethodStatus: answer(daemon.Status{
		Role: "frontend", Domain: 3, Name: "db", Version: "v9", Uptime: 5,
		Links: []daemon.Link{
			{Domain: 0, Backend: true, Up: true, Connections: 1, Pages: 33, Kind: "backend", State: "up"},
			{
				Domain: 4, Name: evil, UUID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", Up: true, Connections: 3, Pages: 17,
				Kind: "peer", State: "up", Generation: "00000000000000aa", Out: []string{"echo", "7000-7010"}, In: []string{"*"},
			},
			{Domain: 5, Name: "idle", Kind: "peer", State: "idle", In: []string{"echo"}},
		},
	})}
}

// The JSON shapes only ever grow: a change of a golden file that takes something
// away breaks programs.
func TestTablesAndJSON(t *testing.T) {
	backend, frontend := daemonThat(t, host()), daemonThat(t, guest())
	for name, args := range map[string][]string{
		"services": {"services"}, "services-domain": {"services", "db"}, "resolve": {"resolve", "echo", "--domain", "db"},
		"status": {"status"}, "peers": {"peers"}, "ping": {"ping", "db"},
		"frontend-status": {"status"}, "frontend-peers": {"peers"},
	} {
		control := backend
		if strings.HasPrefix(name, "frontend") {
			control = frontend
		}
		for _, output := range []string{"table", "json"} {
			r := run(t, append(args, "--control", control, "-o", output)...)
			if r.code != 0 || r.stderr != "" {
				t.Errorf("%v: %d, %s", args, r.code, r.stderr)
			}
			golden(t, name+"-"+output, r.stdout)
			if strings.ContainsAny(r.stdout, "\x1b\x07\u202e\u009b\U000e0041") {
				t.Errorf("%s prints another domain's text as it came", name)
			}
			if output == "json" && !json.Valid([]byte(r.stdout)) {
				t.Errorf("%s is no JSON", name)
			}
		}
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	control := daemonThat(t, varlink.Methods{
		daemon.MethodServices: answer(daemon.ServicesReply{}),
		daemon.MethodStatus:   answer(daemon.Status{Links: []daemon.Link{}}),
	})
	for _, command := range []string{"services", "peers"} {
		if r := run(t, command, "--control", control, "-o", "json"); r.code != 0 || r.stdout != "[]\n" {
			t.Errorf("%s prints %q, %d", command, r.stdout, r.code)
		}
		if r := run(t, command, "--control", control); r.code != 0 || strings.Count(r.stdout, "\n") != 1 {
			t.Errorf("%s prints %q, %d", command, r.stdout, r.code)
		}
	}
}

func TestWhatADaemonRefusesIsToldInOneLine(t *testing.T) {
	message := func(text string) any { return map[string]string{"message": text} }
	for name, c := range map[string]struct {
		err  *varlink.Error
		code int
		want string
	}{
		"a domain that nobody knows":   {varlink.NewError(daemon.ErrUnknownDomain.Name, message("no such domain")), 1, "no such domain"},
		"a name that two domains have": {varlink.NewError(daemon.ErrAmbiguousDomain.Name, message("two of them")), 126, "two of them"},
		"a failure":                    {varlink.NewError(daemon.ErrFailed.Name, message("connection refused")), 1, "connection refused"},
		"a failure with hostile text":  {varlink.NewError(daemon.ErrFailed.Name, message(evil)), 1, `\x1b]0;own\a\u202e\u009b\U000e0041\n\t\"x\\`},
		"no such service":              {discovery.ErrServiceNotFound, 1, "no such service"},
		"a service of two domains": {varlink.NewError(discovery.ErrAmbiguous.Name, map[string]any{"domains": []string{"db", evil}}),
			126, `several domains have that service (db, \x1b]0;own\a\u202e\u009b\U000e0041\n\t\"x\\): choose with --domain`},
		"denied":                        {discovery.ErrDenied, 126, "denied"},
		"a value that it does not take": {varlink.Invalid("bytes"), 1, `does not take this value of "bytes"`},
		"an error without a name":       {varlink.NewError("org.example.Odd", nil), 1, "org.example.Odd"},
		"parameters of another shape":   {varlink.NewError("org.example.Odd", map[string]any{"message": 7}), 1, "org.example.Odd"},
	} {
		t.Run(name, func(t *testing.T) {
			control := daemonThat(t, varlink.Methods{
				daemon.MethodServices: refuse(c.err), daemon.MethodResolve: refuse(c.err),
				daemon.MethodPing: refuse(c.err), daemon.MethodStatus: refuse(c.err),
			})
			for _, command := range []string{"services x", "resolve x", "ping x", "status", "peers"} {
				r := run(t, append(strings.Split(command, " "), "--control", control)...)
				if r.code != c.code || !strings.Contains(r.stderr, c.want) {
					t.Errorf("%s ends with %d: %swant %d and %s", command, r.code, r.stderr, c.code, c.want)
				}
				oneLine(t, r)
			}
		})
	}
}

func TestWithoutADaemonTheAnswerIsWhatToStart(t *testing.T) {
	for _, command := range []string{"services", "resolve x", "ping x", "status", "peers"} {
		r := run(t, append(strings.Split(command, " "), "--control", t.TempDir()+"/none")...)
		if r.code != 125 || !strings.Contains(r.stderr, "start `xvsock backend` or `xvsock domain`") {
			t.Errorf("%s ends with %d: %s", command, r.code, r.stderr)
		}
		oneLine(t, r)
	}
}
