package health_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/services/echo"
	"xvsock/services/health"
	"xvsock/services/rpc/rpctest"
	"xvsock/services/varlink"
)

// A whole domain over real sockets: health tells how the supervisor's services come
// up, and that one of them is started again.
func TestDomainOverSockets(t *testing.T) {
	who := func(net.Conn) (services.Caller, bool) { return services.Caller{Domain: 0, Port: 1000}, true }
	var s *services.Supervisor
	c := health.NewClient(rpctest.Supervise(t, "tcp", services.PortHealth, func(all *services.Supervisor) error {
		s = all
		server := health.NewServer(health.Config{Registry: s.Registry(), Visible: everything, Identify: who})
		return errors.Join(
			s.Add(services.Info{Name: "health", Port: services.PortHealth}, server),
			s.Add(services.Info{Name: "echo", Port: services.PortEcho}, echo.NewServer(echo.Config{Identify: who})))
	}), varlink.Limits{})
	defer c.Close()
	watching, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	var seen []services.State // once the domain was well
	for state, err := range c.Watch(watching, "") {
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) == 0 && state != up {
			continue
		}
		if seen = append(seen, state); len(seen) == 1 {
			if err := s.Restart("echo"); err != nil {
				t.Fatal(err)
			}
		}
		if len(seen) == 3 {
			break
		}
	}
	if len(seen) != 3 || seen[1] != down || seen[2] != up {
		t.Errorf("a service was started again, and the domain was %v", seen)
	}
}
