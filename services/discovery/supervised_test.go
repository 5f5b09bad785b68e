package discovery_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"xvsock/services"
	"xvsock/services/discovery"
	"xvsock/services/echo"
	"xvsock/services/rpc/rpctest"
)

// A whole domain over real sockets: the supervisor runs discovery and echo,
// and discovery answers for both.
func TestDomainOverSockets(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			who := func(net.Conn) (discovery.Caller, bool) { return domain(0, "Domain-0"), true }
			c := discovery.NewClient(rpctest.Supervise(t, network, services.PortDiscovery, func(s *services.Supervisor) error {
				own := discovery.NewOwnDirectory(s.Registry(), domain(5, "db1"), everything)
				return errors.Join(
					s.Add(services.Info{Name: "discovery", Port: services.PortDiscovery}, discovery.NewServer(discovery.Config{Directory: own, Identify: who})),
					s.Add(services.Info{Name: "echo", Port: services.PortEcho}, echo.NewServer(echo.Config{Identify: who})))
			}), discovery.ClientConfig{})
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
		})
	}
}

func TestFloodOfCallsIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start(t, discovery.NewHostDirectory(discovery.HostConfig{Visible: everything})).
			CheckPace(t, domain(5, "evil"), `{"method":"org.varlink.service.GetInfo"}`)
	})
}
