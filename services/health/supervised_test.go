package health_test

import (
	"context"
	"net"
	"testing"
	"time"

	"xvsock/services"
	"xvsock/services/echo"
	"xvsock/services/health"
	"xvsock/services/varlink"
)

// A whole domain over real sockets: health tells how the supervisor's services come
// up, and that one of them is started again.
func TestDomainOverSockets(t *testing.T) {
	addresses := make(chan net.Addr, 2)
	s := services.NewSupervisor(services.Config{Listen: func(port uint32) (net.Listener, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil && port == services.PortHealth {
			addresses <- l.Addr()
		}
		return l, err
	}})
	who := func(net.Conn) (services.Caller, bool) { return services.Caller{Domain: 0, Port: 1000}, true }
	server := health.NewServer(health.Config{Registry: s.Registry(), Visible: everything, Identify: who})
	for _, err := range []error{
		s.Add(services.Info{Name: "health", Port: services.PortHealth}, server),
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
	c := health.NewClient(conn, varlink.Limits{})
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
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
