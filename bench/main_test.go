package bench_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"xvsock/bench"
	"xvsock/services"
	"xvsock/services/rpc/rpctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func anybody(net.Conn) (services.Caller, bool) { return services.Caller{Domain: 5}, true }

// serve runs a server of a network until the test ends, and returns what dials it.
func serve(t testing.TB, network string, c bench.Config) bench.Dial {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	c.Identify = anybody
	rpctest.Serve(t, bench.NewServer(c), l)
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
}

// end is an end of a connection in memory: a net.Pipe for what comes from the server, and
// an io.Pipe, which has half-close, for what goes there.
type end struct {
	net.Conn
	in  io.Reader
	out io.WriteCloser
}

func (e end) Read(b []byte) (int, error) { return e.in.Read(b) }

func (e end) Write(b []byte) (int, error) { return e.out.Write(b) }

func (e end) CloseWrite() error { return e.out.Close() }

func (e end) Close() error {
	e.out.Close()
	return e.Conn.Close()
}

// against returns a Dial whose connections are served by peer, in memory, each in a
// goroutine that ends with it.
func against(peer func(net.Conn)) bench.Dial {
	return func(context.Context) (net.Conn, error) {
		near, other := net.Pipe()
		r, w := io.Pipe()
		go func() {
			defer r.Close()
			defer other.Close()
			peer(end{other, r, other})
		}()
		return end{near, near, w}, nil
	}
}
