package rpctest

import (
	"net"
	"path/filepath"
	"testing"

	"xvsock/services"
)

// Supervise runs what add gives to a supervisor, over real sockets of a network, tcp or
// unix, and returns a connection to the service of a port. All ends with the test.
func Supervise(t testing.TB, network string, port uint32, add func(*services.Supervisor) error) net.Conn {
	dir, first := t.TempDir(), make(chan net.Addr, 1)
	s := services.NewSupervisor(services.Config{Listen: func(p uint32) (net.Listener, error) {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(dir, services.FormatPort(p))
		}
		l, err := net.Listen(network, address)
		if err == nil && p == port {
			select {
			case first <- l.Addr():
			default:
			}
		}
		return l, err
	}})
	if err := add(s); err != nil {
		t.Fatal(err)
	}
	Run(t, s.Serve)
	address := <-first
	conn, err := net.Dial(address.Network(), address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
