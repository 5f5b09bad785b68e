package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/health"
	"xvsock/services/logs"
	"xvsock/services/varlink"
	"xvsock/sim"
	"xvsock/toolstack"
)

// parts is a method that answers in several replies.
func parts(all ...any) method {
	return func(_ context.Context, call *varlink.Call) (any, error) {
		for _, v := range all[:len(all)-1] {
			if err := call.Send(v); err != nil {
				return nil, err
			}
		}
		return all[len(all)-1], nil
	}
}

// asked routes the questions for other domains to what answers there, and notes them.
func asked(notes *[]string, there varlink.Methods) varlink.Methods {
	return varlink.Methods{daemon.MethodAsk: func(ctx context.Context, call *varlink.Call) (any, error) {
		var args daemon.AskArgs
		if err := call.Decode(&args); err != nil {
			return nil, err
		}
		if notes != nil {
			*notes = append(*notes, fmt.Sprintf("%s:%d %s %s", args.Domain, args.Port, args.Method, args.Parameters))
		}
		return there[args.Method](ctx, call)
	}}
}

// managed is what a domain could answer at its ports 3 to 6.
func managed() varlink.Methods { return answersWith("odd \\ \"text\"") }

// answersWith is what a domain answers that puts text wherever it can.
func answersWith(text string) varlink.Methods {
	return varlink.Methods{
		health.MethodCheck: answer(map[string]any{"state": services.Serving}),
		health.MethodWatch: parts(map[string]any{"state": services.Serving}, map[string]any{"state": services.NotServing}),
		control.MethodServices: parts(map[string]any{"services": []control.ServiceStatus{
			{Name: "kv", Port: 100, State: services.NotServing, Starts: 7, Error: "/kv ended after 12ms: exit status 1 " + text},
			{Name: "echo", Port: 7, State: services.Serving, Starts: 1},
		}}),
		control.MethodConfig: parts(control.Settings{
			Values:   []control.Value{{Key: "log", Values: []string{"debug"}, Origin: "xenstore"}, {Key: "service", Values: []string{"echo:7", text}, Origin: "command line"}},
			Problems: []string{},
		}, control.Settings{Values: []control.Value{{Key: "name", Values: []string{}, Origin: "default"}}, Problems: []string{"xenstore: " + text}}),
		control.MethodStatus: parts(daemon.StatusReply{Status: daemon.Status{
			Role: "frontend", Domain: 5, Name: "kv", Version: "v9", Uptime: 60,
			Links: []daemon.Link{{Domain: 0, Backend: true, Up: true, Kind: "backend", State: "up"}},
		}}, daemon.StatusReply{Status: daemon.Status{Links: []daemon.Link{{Domain: 6, Name: evil, Kind: "peer", State: "idle"}}}}),
		control.MethodRestart: answer(nil), control.MethodSetLog: answer(nil), control.MethodShutdown: answer(nil),
		logs.MethodRead: parts(logs.Batch{Position: 9, Lost: 7, Lines: []logs.Line{
			{Position: 7, T: 0.25, Level: slog.LevelInfo, Text: `msg="link is up" domain=0`},
			{Position: 8, T: 12.5, Level: slog.LevelWarn, Text: text},
		}}),
	}
}

func TestADomainIsManagedFromAnother(t *testing.T) {
	there := asked(nil, managed())
	there[daemon.MethodMetrics] = parts(daemon.MetricsReply{Text: "xvsock_link_up 1\n"}, daemon.MetricsReply{Text: "xvsock_name{name=\"" + evil[:4] + "\"} 1\n"})
	at := daemonThat(t, there)
	for name, command := range map[string]string{
		"manage-health": "health kv", "manage-health-json": "health kv -o json", "manage-health-one": "health kv echo",
		"manage-health-watch": "health kv --watch", "manage-config": "config kv", "manage-config-json": "config kv -o json",
		"manage-log": "log kv", "manage-metrics": "metrics kv", "manage-status": "status kv", "manage-peers": "peers kv",
	} {
		r := run(t, append(strings.Fields(command), "--control", at)...)
		if r.code != 0 || r.stderr != "" {
			t.Errorf("%s: %d, %s", command, r.code, r.stderr)
		}
		golden(t, name, r.stdout)
		if strings.ContainsAny(r.stdout, "\x1b\x07\u202e\u009b\U000e0041") {
			t.Errorf("%s prints another domain's text as it came", command)
		}
		if strings.HasSuffix(name, "json") && !json.Valid([]byte(r.stdout)) {
			t.Errorf("%s is no JSON", command)
		}
	}
}

func TestADomainsTextHarmsNobody(t *testing.T) {
	at := daemonThat(t, asked(nil, answersWith(evil)))
	for _, command := range []string{"health kv", "health kv -o json", "config kv", "log kv"} {
		r := run(t, append(strings.Fields(command), "--control", at)...)
		if r.code != 1 || !strings.Contains(r.stderr, "bad answer") {
			t.Errorf("%s: %+v", command, r)
		}
		oneLine(t, r)
	}
}

// endless never ends its answer.
func endless(v any) method {
	return func(ctx context.Context, call *varlink.Call) (any, error) {
		for ctx.Err() == nil {
			if err := call.Send(v); err != nil {
				return nil, err
			}
		}
		return nil, ctx.Err()
	}
}

func TestADomainThatNeverEndsItsAnswerIsLeft(t *testing.T) {
	there := varlink.Methods{
		control.MethodServices: endless(map[string]any{"services": []control.ServiceStatus{}}),
		control.MethodConfig:   endless(control.Settings{Values: []control.Value{{Key: "log", Values: []string{"info"}, Origin: "default"}}, Problems: []string{}}),
		control.MethodStatus:   endless(daemon.StatusReply{Status: daemon.Status{Links: []daemon.Link{{Name: "x"}}}}),
		logs.MethodRead:        endless(logs.Batch{Lines: []logs.Line{}}),
	}
	at := daemonThat(t, asked(nil, there))
	for _, command := range []string{"health kv", "config kv", "status kv", "peers kv", "log kv"} {
		r := run(t, append(strings.Fields(command), "--control", at)...)
		if r.code != 1 {
			t.Errorf("%s: %+v", command, r)
		}
		oneLine(t, r)
	}
}

func TestWhyADomainDidNotBootIsTold(t *testing.T) {
	h := sim.NewTest(t)
	kv := h.Create(sim.DomainConfig{Name: "kv"})
	store := kv.NewProcess().Xenstore()
	defer store.Close()
	for node, value := range map[string]string{"state": "failed", "failure": "boot: link: " + evil, "problem/0": "x is wrong"} {
		if err := store.Write(t.Context(), toolstack.BootDir+"/"+node, value); err != nil {
			t.Fatal(err)
		}
	}
	at := daemonThat(t, varlink.Methods{daemon.MethodAsk: refuse(varlink.NewError(daemon.ErrFailed.Name, map[string]string{"message": "no link"}))})
	r := runOn(t.Context(), xen(h.Domain(0)), "status", "kv", "--control", at)
	want := "kv (1) says of its boot: failed\n  problem: x is wrong\n  failure: boot: link: \\x1b]0;own"
	if r.code != 1 || !strings.HasPrefix(r.stderr, want) || !strings.HasSuffix(r.stderr, "xvsock: no link\n") || strings.Contains(r.stderr, "\x1b") {
		t.Errorf("%+v", r)
	}
}

func TestOrdersGoToTheRightPort(t *testing.T) {
	for command, want := range map[string]string{
		"restart kv echo":      `kv:4 org.xvsock.Domain.Restart {"service":"echo"}`,
		"loglevel kv debug":    `kv:4 org.xvsock.Domain.SetLog {"level":"debug"}`,
		"shutdown kv":          `kv:4 org.xvsock.Domain.Shutdown {"reboot":false}`,
		"shutdown kv --reboot": `kv:4 org.xvsock.Domain.Shutdown {"reboot":true}`,
		"health kv echo":       `kv:3 org.xvsock.Health.Check {"service":"echo"}`,
		"health kv --watch":    `kv:3 org.xvsock.Health.Watch {}`,
		"health kv":            `kv:4 org.xvsock.Domain.Services`,
		"config":               `self:4 org.xvsock.Domain.Config`,
		"log":                  `self:6 org.xvsock.Log.Read {}`,
		"log kv -n 5 -f":       `kv:6 org.xvsock.Log.Read {"from":-5,"follow":true}`,
		"status kv":            `kv:4 org.xvsock.Domain.Status`,
	} {
		var notes []string
		at := daemonThat(t, asked(&notes, managed()))
		r := run(t, append(strings.Fields(command), "--control", at)...)
		if r.code != 0 || len(notes) != 1 || strings.TrimSpace(notes[0]) != want {
			t.Errorf("%s asks %q, want %q; %+v", command, notes, want, r)
		}
	}
}

func TestAServiceThatDoesNotServeIsAnError(t *testing.T) {
	there := managed()
	there[health.MethodCheck] = answer(map[string]any{"state": services.Unknown})
	r := run(t, "health", "kv", "none", "--control", daemonThat(t, asked(nil, there)))
	if r.code != 1 || !strings.Contains(r.stdout, "SERVICE_UNKNOWN") || r.stderr != "xvsock: none of kv is SERVICE_UNKNOWN\n" {
		t.Errorf("%+v", r)
	}
}

func TestWhatADomainRefusesIsToldInOneLine(t *testing.T) {
	for name, c := range map[string]struct {
		err  *varlink.Error
		code int
		want string
	}{
		"an order of a stranger":  {control.ErrDenied, 126, "denied"},
		"no such service":         {control.ErrServiceNotFound, 1, "no such service"},
		"a daemon is no PID 1":    {control.ErrNotSupported, 1, "its PID 1 is not xvsock"},
		"too many followers":      {logs.ErrLimitReached, 1, "too many watch"},
		"a level that is unknown": {varlink.Invalid("level"), 1, `this value of "level"`},
	} {
		at := daemonThat(t, varlink.Methods{daemon.MethodAsk: refuse(c.err), daemon.MethodMetrics: refuse(c.err)})
		for _, command := range []string{
			"restart kv x", "loglevel kv info", "shutdown kv", "health kv", "health kv x", "health kv --watch", "config kv", "log kv", "metrics kv", "status kv", "peers kv",
		} {
			r := run(t, append(strings.Fields(command), "--control", at)...)
			if r.code != c.code || !strings.Contains(r.stderr, c.want) {
				t.Errorf("%s: %s ends with %d: %s", name, command, r.code, r.stderr)
			}
			oneLine(t, r)
		}
	}
}
