package control_test

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/rpc/rpctest"
	"xvsock/services/varlink"
)

const invalid = `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":`

// The bytes of a conversation, as PROTOCOL tells them to other languages.
func TestConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{
			settings: control.Settings{
				Values:   []control.Value{{Key: "mode", Values: []string{"frontend"}, Origin: "default"}, {Key: "name", Origin: "xenstore"}},
				Problems: []string{"xenstore: \x1b[2J: no such key"},
			},
			services: []control.ServiceStatus{
				{Name: "echo", Port: 7, State: services.Serving, Starts: 1},
				{Name: "web", Port: 80, State: services.NotServing, Starts: 3, Panics: 1, Error: "exit\nstatus 1", Since: time.Unix(1e9, 0).UTC()},
			},
		}
		conn := start(t, f).Dial(t, root(0))
		in := bufio.NewReader(conn)
		for _, c := range []struct{ call, want string }{
			{`{"method":"org.xvsock.Domain.Status"}`, `{"parameters":{"status":{"role":"frontend","uptime":1.5}}}`},
			{`{"method":"org.xvsock.Domain.Status","parameters":{"x":1}}`, invalid + `"parameters"}}`},
			{`{"method":"org.xvsock.Domain.Config"}`, `{"parameters":{"values":[{"key":"mode","values":["frontend"],"origin":"default"},{"key":"name","values":[],"origin":"xenstore"}],"problems":["xenstore: \\x1b[2J: no such key"]}}`},
			{`{"method":"org.xvsock.Domain.Config","parameters":{"x":1}}`, invalid + `"parameters"}}`},
			{`{"method":"org.xvsock.Domain.Services"}`, `{"parameters":{"services":[{"name":"echo","port":7,"state":"SERVING","starts":1,"panics":0},` +
				`{"name":"web","port":80,"state":"NOT_SERVING","starts":3,"panics":1,"error":"exit\\nstatus 1","since":"2001-09-09T01:46:40Z"}]}}`},
			{`{"method":"org.xvsock.Domain.Services","parameters":{"x":1}}`, invalid + `"parameters"}}`},
			{`{"method":"org.xvsock.Domain.SetLog","parameters":{"level":"debug"}}`, `{"parameters":{}}`},
			{`{"method":"org.xvsock.Domain.SetLog","parameters":{"level":"DEBUG"}}`, invalid + `"level"}}`},
			{`{"method":"org.xvsock.Domain.SetLog","parameters":{"level":"info+1"}}`, invalid + `"level"}}`},
			{`{"method":"org.xvsock.Domain.SetLog","parameters":{"level":4}}`, invalid + `"parameters"}}`},
			{`{"method":"org.xvsock.Domain.SetLog"}`, invalid + `"level"}}`},
			{`{"method":"org.xvsock.Domain.Restart","parameters":{"service":"web"}}`, `{"parameters":{}}`},
			{`{"method":"org.xvsock.Domain.Restart","parameters":{"service":"../x"}}`, invalid + `"service"}}`},
			{`{"method":"org.xvsock.Domain.Restart"}`, invalid + `"service"}}`},
			{`{"method":"org.xvsock.Domain.Shutdown"}`, invalid + `"reboot"}}`},
			{`{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":null}}`, invalid + `"reboot"}}`},
			{`{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":1}}`, invalid + `"parameters"}}`},
			{`{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":true}}`, `{"parameters":{}}`},
			{`{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":false}}`, `{"parameters":{}}`},
			{`{"method":"org.xvsock.Domain.Explode"}`, `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"org.xvsock.Domain.Explode"}}`},
			{`{"method":"org.varlink.service.GetInfo"}`, `{"parameters":{"vendor":"xvsock","product":"test","version":"1","url":"-","interfaces":["org.varlink.service","org.xvsock.Domain"]}}`},
		} {
			io.WriteString(conn, c.call+"\n")
			if got, err := in.ReadString('\n'); got != c.want+"\n" || err != nil {
				t.Errorf("%s:\n got %q, %v\nwant %q", c.call, got, err, c.want)
			}
		}
		if got, want := f.said(), "log DEBUG, restart web, reboot, shutdown"; got != want {
			t.Errorf("ordered %q; want %q", got, want)
		}
	})
}

func TestEveryMethodIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := varlink.NewClient(start(t, &fake{}).Dial(t, root(0)), varlink.Limits{})
		for _, m := range regexp.MustCompile(`(?m)^method (\w+)`).FindAllStringSubmatch(control.Interface, -1) {
			err := c.Call(t.Context(), control.Name+"."+m[1], nil, nil)
			if errors.Is(err, &varlink.Error{Name: varlink.MethodNotFound}) {
				t.Errorf("%s is described and not there", m[1])
			}
		}
		var d varlink.Description
		err := c.Call(t.Context(), varlink.GetInterfaceDescription, map[string]string{"interface": control.Name}, &d)
		if err != nil || d.Description != control.Interface {
			t.Errorf("description: %v", err)
		}
	})
}

// Who is not allowed gets one and the same answer to everything, and nothing is
// done.
func TestOthersAreDenied(t *testing.T) {
	calls := []string{
		`{"method":"org.xvsock.Domain.Status"}`,
		`{"method":"org.xvsock.Domain.Config","more":true}`,
		`{"method":"org.xvsock.Domain.Services"}`,
		`{"method":"org.xvsock.Domain.SetLog","parameters":{"level":"debug"}}`,
		`{"method":"org.xvsock.Domain.Restart","parameters":{"service":"web"}}`,
		`{"method":"org.xvsock.Domain.Restart","parameters":7}`,
		`{"method":"org.xvsock.Domain.Shutdown","parameters":{"reboot":false}}`,
		`{"method":"org.xvsock.Domain.Explode"}`,
		`{"method":"org.varlink.service.GetInfo"}`,
		`{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.xvsock.Domain"}}`,
	}
	for _, c := range []struct {
		name   string
		caller services.Caller
	}{
		{"root of another domain", root(5)},
		{"a program of domain 0", user(0)},
		{"a program of another domain", user(5)},
		{"no source port at all", services.Caller{Domain: 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				p := start(t, f)
				conn := p.Dial(t, c.caller)
				in := bufio.NewReader(conn)
				for _, call := range calls {
					if strings.HasSuffix(call, `"parameters":7}`) {
						continue // no call at all, whoever sends it
					}
					io.WriteString(conn, call+"\n")
					if got, err := in.ReadString('\n'); got != `{"error":"org.varlink.service.PermissionDenied"}`+"\n" || err != nil {
						t.Errorf("%s: %q, %v", call, got, err)
					}
				}
				if f.said() != "" || strings.Contains(p.log.String(), "order") {
					t.Errorf("ordered %q; log:\n%s", f.said(), p.log)
				}
			})
		})
	}
}

func TestWithoutAllowNobodyIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := port{Listener: rpctest.Start(t, control.NewServer(control.Config{Methods: control.Methods(f), Identify: rpctest.Identify}))}
		if err := p.client(t, root(0)).Shutdown(t.Context(), false); !errors.Is(err, control.ErrDenied) || f.said() != "" {
			t.Errorf("Shutdown = %v, ordered %q", err, f.said())
		}
	})
}

func TestLeaveIsAskedForAtEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{})
		c := p.client(t, root(0))
		if err := c.Restart(t.Context(), "web"); err != nil {
			t.Errorf("Restart = %v", err)
		}
		p.setAllowed(func(services.Caller) bool { return false })
		if err := c.Restart(t.Context(), "web"); !errors.Is(err, control.ErrDenied) {
			t.Errorf("Restart after leave was taken = %v", err)
		}
	})
}

func TestOrdersAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		p := start(t, f)
		c := p.client(t, root(0))
		ctx := t.Context()
		c.Status(ctx)
		c.Services(ctx)
		if got := p.log.String(); got != "" {
			t.Errorf("questions were logged:\n%s", got)
		}
		c.SetLog(ctx, slog.LevelWarn)
		c.Restart(ctx, "web")
		f.err = control.ErrNotSupported
		c.Shutdown(ctx, true)
		who := ` domain=0 name=Domain-0 uuid=u0 method=org.xvsock.Domain.`
		want := `level=INFO msg=order` + who + `SetLog parameters="{\"level\":\"warn\"}"` + "\n" +
			`level=INFO msg=order` + who + `Restart parameters="{\"service\":\"web\"}"` + "\n" +
			`level=INFO msg=order` + who + `Shutdown parameters="{\"reboot\":true}"` + "\n" +
			`level=WARN msg="order not done"` + who + `Shutdown error=org.xvsock.Domain.NotSupported` + "\n"
		if got := p.log.String(); got != want {
			t.Errorf("logged:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestALongOrderIsLoggedShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &fake{})
		c := varlink.NewClient(p.Dial(t, root(0)), varlink.Limits{})
		c.Call(t.Context(), control.MethodRestart, map[string]string{"service": strings.Repeat("x", 50000)}, nil)
		if n := len(p.log.String()); n == 0 || n > 800 {
			t.Errorf("%d bytes of log", n)
		}
	})
}

func TestErrorsOfTheDomainReachTheCaller(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"no such service", services.ErrNotFound, control.ErrServiceNotFound},
		{"not possible", control.ErrNotSupported, control.ErrNotSupported},
		{"anything else is hidden", errors.New("secret"), &varlink.Error{Name: varlink.Internal}},
	} {
		synctest.Test(t, func(t *testing.T) {
			client := start(t, &fake{err: c.err}).client(t, root(0))
			ctx := t.Context()
			_, status := client.Status(ctx)
			_, config := client.Config(ctx)
			_, list := client.Services(ctx)
			for _, err := range []error{status, config, list, client.SetLog(ctx, slog.LevelInfo), client.Restart(ctx, "x"), client.Shutdown(ctx, false)} {
				if !errors.Is(err, c.want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s: %v; want %v", c.name, err, c.want)
				}
			}
		})
	}
}
