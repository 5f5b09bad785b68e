package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/config"
	"xvsock/daemon"
	"xvsock/services"
	"xvsock/services/control"
	"xvsock/services/health"
	"xvsock/services/logs"
	"xvsock/services/varlink"
	"xvsock/vsock"
)

// ask has a daemon ask a service of a domain.
func (n *node) ask(domain string, port uint32, method string, in, out any) error {
	args := daemon.AskArgs{Domain: domain, Port: port, Method: method}
	if in != nil {
		parameters, err := json.Marshal(in)
		if err != nil {
			n.t.Fatal(err)
		}
		args.Parameters = parameters
	}
	return n.control.call(n.t.Context(), daemon.MethodAsk, args, out)
}

// stream has a daemon call a method that answers in several parts.
func (n *node) stream(ctx context.Context, method string, in any, each func(json.RawMessage) bool) error {
	near, far := net.Pipe()
	n.control.conns <- far
	c := varlink.NewClient(near, varlink.Limits{Idle: 24 * time.Hour})
	defer c.Close()
	for part, err := range c.Stream(ctx, method, in) {
		if err != nil {
			return err
		}
		if !each(part) {
			return nil
		}
	}
	return nil
}

// managed is a host with a backend and the domain web, whose daemon can be changed.
func managed(t *testing.T, change func(*daemon.Config)) (b, web *node) {
	h := newHost(t)
	b = h.backend()
	web = start(t, h.create("web"), daemon.Frontend, change)
	await(t, "true", 5*time.Second, func() string { return up(b.status().Links) })
	return b, web
}

// up says whether there is a link and it is up.
func up(links []daemon.Link) string {
	if len(links) > 0 && links[0].Up {
		return "true"
	}
	return "false"
}

func TestTheToolstackGivesOrdersToADomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		level, told := new(slog.LevelVar), make(chan bool, 1)
		table := config.Settings(daemon.Known(daemon.Builtin()))
		settings, problems := table.Resolve(config.Source{Name: "xenstore", Settings: []config.Setting{
			{Key: "log", Value: "warn"}, {Key: "nme", Value: "x"},
		}})
		b, web := managed(t, func(c *daemon.Config) {
			c.Level, c.Settings, c.Problems = level, settings, problems
			c.Shutdown = func(reboot bool) { told <- reboot }
		})
		order := func(method string, in, out any) error {
			return b.ask("web", services.PortControl, method, in, out)
		}
		var s daemon.StatusReply
		if err := order(control.MethodStatus, nil, &s); err != nil || s.Status.Role != "frontend" || up(s.Status.Links) != "true" {
			t.Errorf("Status: %+v, %v", s, err)
		}
		var c control.Settings
		if err := order(control.MethodConfig, nil, &c); err != nil || len(c.Problems) != 1 || !strings.Contains(c.Problems[0], "did you mean name?") {
			t.Errorf("Config: %+v, %v", c, err)
		}
		if !contains(c.Values, control.Value{Key: "log", Values: []string{"warn"}, Origin: "xenstore"}) {
			t.Errorf("Config has no log=warn of xenstore: %+v", c.Values)
		}
		if err := order(control.MethodSetLog, map[string]string{"level": "debug"}, nil); err != nil || level.Level() != slog.LevelDebug {
			t.Errorf("SetLog: %v, level %v", err, level.Level())
		}
		if err := order(control.MethodRestart, map[string]string{"service": "echo"}, nil); err != nil {
			t.Errorf("Restart: %v", err)
		}
		await(t, "2", 5*time.Second, func() string {
			var list struct {
				Services []control.ServiceStatus `json:"services"`
			}
			if err := order(control.MethodServices, nil, &list); err != nil {
				return err.Error()
			}
			return starts(list.Services, "echo")
		})
		if err := order(control.MethodRestart, map[string]string{"service": "none"}, nil); code(err) != "ServiceNotFound" {
			t.Errorf("Restart of none: %v", err)
		}
		if err := order(control.MethodShutdown, map[string]bool{"reboot": true}, nil); err != nil || !<-told {
			t.Errorf("Shutdown: %v", err)
		}
		// Its own root may do the same, at its control socket.
		if err := web.control.call(t.Context(), control.MethodShutdown, map[string]bool{"reboot": false}, nil); err != nil || <-told {
			t.Errorf("Shutdown by the domain itself: %v", err)
		}
	})
}

func contains(all []control.Value, want control.Value) bool {
	for _, v := range all {
		if v.Key == want.Key && v.Origin == want.Origin && strings.Join(v.Values, ",") == strings.Join(want.Values, ",") {
			return true
		}
	}
	return false
}

// starts is how often a service was started.
func starts(all []control.ServiceStatus, name string) string {
	for _, s := range all {
		if s.Name == name {
			return decimal(s.Starts)
		}
	}
	return "none"
}

func decimal(n uint64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func TestOrdersAreTheToolstacksAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		b.rules.set("* * * allow")
		told := make(chan bool, 1)
		start(t, h.create("web"), daemon.Frontend, func(c *daemon.Config) { c.Shutdown = func(reboot bool) { told <- reboot } })
		mallory := start(t, h.create("mallory"), daemon.Frontend, nil)
		await(t, "Denied", 10*time.Second, func() string {
			err := mallory.ask("web", services.PortControl, control.MethodShutdown, map[string]bool{"reboot": false}, nil)
			var reply *varlink.Error
			if errors.As(err, &reply) && reply.Name == varlink.PermissionDenied {
				return "Denied"
			}
			return code(err)
		})
		// The backend's domain itself takes no orders of a frontend's root.
		err := mallory.ask("@backend", services.PortControl, control.MethodStatus, nil, nil)
		if !errors.Is(err, control.ErrDenied) {
			t.Errorf("a frontend's root asks the backend: %v", err)
		}
		select {
		case <-told:
			t.Error("a neighbour has shut the domain down")
		default:
		}
	})
}

func TestAskSpeaksToManagementPortsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := managed(t, nil)
		for _, port := range []uint32{0, services.PortManager, services.PortMetrics, services.PortEcho, 22, 5000} {
			if err := b.ask("web", port, health.MethodCheck, nil, nil); code(err) != "InvalidParameter" {
				t.Errorf("port %d: %v", port, err)
			}
		}
		if err := b.ask("nobody", services.PortHealth, health.MethodCheck, nil, nil); code(err) != "UnknownDomain" {
			t.Errorf("an unknown domain: %v", err)
		}
		if err := b.ask("web", services.PortHealth, "org.xvsock.Health.None", nil, nil); code(err) != "MethodNotFound" {
			t.Errorf("an unknown method: %v", err)
		}
		for _, domain := range []string{"web", "self", "@backend"} {
			var s struct {
				State services.State `json:"state"`
			}
			if err := b.ask(domain, services.PortHealth, health.MethodCheck, nil, &s); err != nil || s.State != services.Serving {
				t.Errorf("health of %s: %+v, %v", domain, s, err)
			}
		}
	})
}

func TestHealthIsWatchedThroughTheDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		fail := make(chan struct{})
		b, _ := managed(t, func(c *daemon.Config) {
			c.Services = []daemon.Offer{{
				Info: services.Info{Name: "frail", Port: 1000},
				New:  func(services.Identify, *slog.Logger) services.Service { return &frail{fail: fail, err: broken} },
			}}
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []string
		parameters := json.RawMessage(`{"service":"frail"}`)
		err := b.stream(ctx, daemon.MethodAsk, daemon.AskArgs{
			Domain: "web", Port: services.PortHealth, Method: health.MethodWatch, Parameters: parameters,
		}, func(part json.RawMessage) bool {
			var s struct{ State string }
			if err := json.Unmarshal(part, &s); err != nil {
				t.Error(err)
			}
			if got = append(got, s.State); len(got) == 1 {
				close(fail)
			}
			return len(got) < 3
		})
		if want := "SERVING NOT_SERVING SERVING"; strings.Join(got, " ") != want {
			t.Errorf("watched %q, %v; want %s", got, err, want)
		}
	})
}

// frail fails once, when it is told to.
type frail struct {
	fail  chan struct{}
	err   error
	lives int
}

// Serve implements services.Service.
func (f *frail) Serve(ctx context.Context, l net.Listener) error {
	defer l.Close()
	if f.lives++; f.lives == 1 {
		select {
		case <-f.fail:
			return f.err
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
	return nil
}

func TestMetricsAndTheLogOfADomainAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records := logs.NewBuffer(0)
		b, _ := managed(t, func(c *daemon.Config) {
			c.Logs = records
			c.Log = slog.New(records.Handler(slog.LevelInfo, time.Now()))
		})
		var text strings.Builder
		err := b.stream(t.Context(), daemon.MethodMetrics, daemon.MetricsArgs{Domain: "web"}, func(part json.RawMessage) bool {
			var p daemon.MetricsReply
			if err := json.Unmarshal(part, &p); err != nil {
				t.Error(err)
			}
			text.WriteString(p.Text)
			return true
		})
		for _, want := range []string{
			"\nxvsock_link_up{domain=\"0\",kind=\"backend\"} 1\n", "\nxvsock_service_serving{port=\"7\",service=\"echo\"} 1\n",
			"\nxvsock_service_starts_total{port=\"2\",service=\"discovery\"} 1\n", "\nxvsock_metrics_left_out 0\n",
		} {
			if err != nil || !strings.Contains(text.String(), want) {
				t.Errorf("metrics of web, %v: no %q in\n%s", err, want, text.String())
			}
		}
		var batch logs.Batch
		if err := b.ask("web", services.PortLog, logs.MethodRead, logs.Request{}, &batch); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, l := range batch.Lines {
			found = found || strings.Contains(l.Text, "link is up")
		}
		if !found {
			t.Errorf("the log does not say that the link is up: %+v", batch)
		}
	})
}

func TestAProgramKnowsItsPeerByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		b := h.backend()
		b.rules.set("1000 web db allow")
		callers := make(chan services.Caller, 1)
		start(t, h.create("db"), daemon.Frontend, func(c *daemon.Config) {
			c.Services = []daemon.Offer{{
				Info: services.Info{Name: "who", Port: 1000},
				New: func(identify services.Identify, _ *slog.Logger) services.Service {
					return &services.Acceptor{Identify: identify, Handle: func(_ context.Context, _ net.Conn, c services.Caller) { callers <- c }}
				},
			}}
		})
		web := h.create("web")
		node := start(t, web, daemon.Frontend, nil)
		await(t, "", 10*time.Second, func() string {
			if err := node.control.call(t.Context(), daemon.MethodPing, daemon.PingArgs{Domain: "db", Bytes: 1, Port: 1000}, nil); code(err) == "Failed" && strings.Contains(err.Error(), "came back") {
				return ""
			}
			return "not yet"
		})
		got := <-callers
		if got.Name != "web" || got.UUID != web.UUID() || got.CID != vsock.CIDOf(web.ID()) {
			t.Errorf("the service is told of %+v, want %s %s", got, "web", web.UUID())
		}
	})
}
