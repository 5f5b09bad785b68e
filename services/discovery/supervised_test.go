package discovery_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/echo"
	"xvsock/services/varlink"
)

// A whole domain over real sockets: the supervisor runs discovery and echo,
// and discovery answers for both.
func TestDomainOverSockets(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			dir := t.TempDir()
			addresses := make(chan net.Addr, 2)
			s := services.NewSupervisor(services.Config{Listen: func(port uint32) (net.Listener, error) {
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(dir, services.FormatPort(port))
				}
				l, err := net.Listen(network, address)
				if err == nil && port == services.PortDiscovery {
					addresses <- l.Addr()
				}
				return l, err
			}})
			who := func(net.Conn) (discovery.Caller, bool) { return domain(0, "Domain-0"), true }
			own := discovery.NewOwnDirectory(s.Registry(), domain(5, "db1"), everything)
			for _, err := range []error{
				s.Add(services.Info{Name: "discovery", Port: services.PortDiscovery}, discovery.NewServer(discovery.Config{Directory: own, Identify: who})),
				s.Add(services.Info{Name: "echo", Port: services.PortEcho}, echo.NewServer(echo.Config{Identify: who})),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.Serve(ctx) }()
			address := <-addresses
			conn, err := net.Dial(address.Network(), address.String())
			if err != nil {
				t.Fatal(err)
			}
			c := discovery.NewClient(conn, discovery.ClientConfig{})
			defer c.Close()
			watching, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			states := make(map[string]services.State)
			for u, err := range c.Watch(watching, 0) {
				if err != nil {
					t.Fatal(err)
				}
				for _, ch := range u.Changes {
					states[ch.Service.Name] = ch.Service.State
				}
				if states["echo"] == services.Serving && states["discovery"] == services.Serving {
					break
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
	}
}

func TestFloodOfCallsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := varlink.NewClient(start(t, discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})).Dial(t, domain(5, "evil")), varlink.Limits{})
		began := time.Now()
		for range 1000 {
			if err := c.Call(t.Context(), varlink.GetInfo, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 6*time.Second {
			t.Errorf("1000 calls in %v; want 100 a second after the first 300", d)
		}
	})
}
