package health_test

import (
	"testing"

	"xvsock/services"
	"xvsock/services/health"
	"xvsock/services/rpc"
	"xvsock/services/rpc/rpctest"
	"xvsock/services/varlink"
)

// domain is a health server.
type domain struct {
	*rpctest.Listener
	registry *services.Registry
	server   *rpc.Server
}

// start serves a registry of the named services until the test ends.
func start(t *testing.T, visible func(services.Caller, services.Entry) bool, names ...string) *domain {
	d := &domain{registry: services.NewRegistry()}
	for i, name := range names {
		if err := d.registry.Add(services.Info{Name: name, Port: uint32(100 + i)}); err != nil {
			t.Fatal(err)
		}
		d.set(name, services.Serving)
	}
	d.server = health.NewServer(health.Config{
		Registry: d.registry,
		Visible:  visible,
		Identify: rpctest.Identify,
		Info:     varlink.Info{Vendor: "xvsock", Product: "test", Version: "1", URL: "-"},
	})
	d.Listener = rpctest.Start(t, d.server)
	return d
}

func (d *domain) set(name string, s services.State) {
	if err := d.registry.SetState(name, s); err != nil {
		panic(err)
	}
}

func guest(domain uint16) services.Caller { return services.Caller{Domain: domain, Port: 2000} }

func (d *domain) client(t *testing.T, caller uint16) *health.Client {
	return health.NewClient(d.Dial(t, guest(caller)), varlink.Limits{})
}

func everything(services.Caller, services.Entry) bool { return true }

// all but secret, unless the caller is domain 0.
func notSecret(c services.Caller, e services.Entry) bool { return c.Domain == 0 || e.Name != "secret" }
